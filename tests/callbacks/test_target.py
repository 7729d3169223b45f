import logging
import math
from types import SimpleNamespace

import pytest
import torch

from cifar_lit.callbacks.target import Target


def after_epoch(target, **metrics):
    named = {name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()}
    trainer = SimpleNamespace(callback_metrics=named, current_epoch=7, should_stop=False)
    target.on_train_epoch_end(trainer, None)
    return trainer.should_stop


def test_stops_at_the_value_and_not_before(caplog):
    target = Target(0.75)
    with caplog.at_level(logging.INFO):
        assert not after_epoch(target, val_acc=0.7499)
        assert not caplog.messages
        assert after_epoch(target, val_acc=0.75)
        assert after_epoch(target, val_acc=0.9)
    assert caplog.messages[0] == "Target reached: val/acc 75.00% in epoch 8"


@pytest.mark.parametrize("value", [0.1, 0.7, 0.7514, 0.9])
def test_the_very_value_is_enough_though_metrics_are_float32(value):
    assert after_epoch(Target(value), val_acc=value)
    assert not after_epoch(Target(value), val_acc=value - 1e-4)


def test_null_and_epochs_without_validation_never_stop():
    assert not after_epoch(Target(), val_acc=1.0)
    assert not after_epoch(Target(0.5), train_acc=1.0)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, 75, math.nan])
def test_values_that_are_no_fraction_are_refused(value):
    with pytest.raises(ValueError, match=f"callbacks.target.value={value} is an accuracy as a fraction"):
        Target(value)
