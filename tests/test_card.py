"""The model card: what the Hub reads of it, and what people do."""

import re

import pytest
from huggingface_hub import ModelCard
from test_bundle import FACTS, network

from cifar_lit import bundle, card, convert

SUMMARY = {
    "params": 1234, "test/acc": 0.7357, "test/acc5": 0.92, "test/ece": 0.0412, "test/ece_calibrated": 0.0123, "train/acc": 0.8435,
    "validation": "holdout", "evaluated": "best", "evaluated_epoch": 28, "epochs": 30, "train_seconds": 2160.4, "device": "cpu",
    "precision": "32-true", "seed": 3, "git": None, "test/images": 10_000, "overrides": ["model=resnet8", "seed=3"],
}  # fmt: skip


def test_a_card_says_what_people_ask():
    text = card.write(FACTS, SUMMARY)
    head = ModelCard(text).data
    assert (head.license, head.library_name, head.pipeline_tag) == ("mit", "cifar_lit", "image-classification")
    assert head.metrics == ["accuracy"]
    assert re.search(r"test accuracy \| 73.57% \|", text) and "| test images | 10,000 |" in text
    for words in ("held-out training images", "best epoch, number 29 of 30", "## Intended use and limits", "## Use",
                  "python -m cifar_lit.predict", "from_pretrained", "python train.py model=resnet8 seed=3"):  # fmt: skip
        assert words in text, words


def test_a_card_names_its_data_and_how_it_was_tested():
    facts = bundle.Facts(**{**vars(FACTS), "data": "cifar100"})
    text = card.write(facts, SUMMARY | {"test_time_flip": True, "validation": "test"})
    assert ModelCard(text).data.datasets == ["cifar100"]
    assert "mean of each image and its mirror image" in text
    assert "the test images were watched" in text
    assert "Krizhevsky, 2009" in text


@pytest.mark.parametrize(("given", "said"), [({}, "unknown"), ({"license": "apache-2.0"}, "apache-2.0")])
def test_weights_of_other_people_are_under_their_licence(tmp_path, given, said):
    import torch

    torch.save(network().state_dict(), tmp_path / "theirs.pth")
    found = convert.read(tmp_path / "theirs.pth", convert.Options(**given))
    convert.write(found, tmp_path / "bundle")
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert ModelCard(text).data.license == said
    assert "Converted from `theirs.pth`. Nothing was measured." in text


def test_a_licence_is_one_word(tmp_path):
    import torch

    torch.save(network().state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(convert.ConvertError, match="as the Hub names it"):
        convert.read(tmp_path / "theirs.pth", convert.Options(license="mit\npinned: true"))
