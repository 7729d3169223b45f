"""What is searched: the space as typed, and what may be searched at all."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna import create_study

from cifar_lit import runs
from cifar_lit.cli import search, studies
from cifar_lit.cli.errors import UsageError
from cifar_lit.cli.search import Choice, Interval, Steps


def parsed(*typed):
    return search.space(OverridesParser.create().parse_overrides(list(typed)))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a=interval(1e-4,1e-1)", Interval(1e-4, 1e-1)),
        ("a=tag(log, interval(1e-4, 1e-1))", Interval(1e-4, 1e-1, log=True)),
        ("a=int(interval(1,5))", Interval(1, 5)),
        ("a=interval(1,5)", Interval(1.0, 5.0)),
        ("a=range(1,10,3)", Steps(1, 7, 3)),
        ("a=range(0,1,0.25)", Steps(0.0, 0.75, 0.25)),
        ("a=choice(0,0.1,x)", Choice(("0", "0.1", "x"))),
        ("a=1,2", Choice(("1", "2"))),
        ("a=choice([1,2],[3])", Choice(("[1,2]", "[3]"))),
    ],
)
def test_hydras_grammar(typed, expected):
    assert parsed("b=1", "model=resnet8", typed) == (["b=1", "model=resnet8"], {"a": expected})


def test_of_a_key_typed_twice_the_last_counts():
    assert parsed("a=1,2", "a=3") == (["a=3"], {})
    assert parsed("a=3", "a=1,2") == ([], {"a": Choice(("1", "2"))})


@pytest.mark.parametrize("typed", ["a=glob(*)", "a=interval(2,1)", "a=tag(log,interval(0,1))", "a=range(3,3)"])
def test_what_is_no_search_space(typed):
    with pytest.raises(UsageError, match=re.escape(typed)):
        parsed(typed)


def test_whole_numbers_stay_whole_and_ends_are_within():
    space = studies.distributions(
        {"a": Steps(1, 7, 3), "b": Interval(1, 5), "c": Interval(1.0, 5.0), "d": Steps(0.0, 0.75, 0.25)}
    )
    study = create_study(sampler=studies.SeededTPE(0))
    seen = [study.ask(space).params for _ in range(60)]
    assert {params["a"] for params in seen} == {1, 4, 7}
    assert {params["b"] for params in seen} == {1, 2, 3, 4, 5}
    assert {params["d"] for params in seen} == {0.0, 0.25, 0.5, 0.75}
    assert all(isinstance(params["c"], float) for params in seen)


def test_what_may_be_searched():
    """Every choice of a group is looked at, of a number one; what is typed after a recipe wins."""
    fixed, free = parsed("data.validation=holdout", "experiment=ft3,quickstart", "optimizer.lr=0.1,0.2", "model.dropout=0,0.1")
    assert list(search.probes(fixed, free)) == [
        ["data.validation=holdout", f"experiment={name}", "optimizer.lr=0.1", "model.dropout=0"] for name in ("ft3", "quickstart")
    ]
    for objective in runs.OBJECTIVES:
        search.check(OmegaConf.create({"objective": objective, "data": {"validation": "holdout"}}))
        with pytest.raises(UsageError, match="a search would choose by the test images"):
            search.check(OmegaConf.create({"objective": objective, "data": {"validation": "test"}}))
