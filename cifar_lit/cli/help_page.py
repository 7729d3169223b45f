"""What `python train.py --help` prints: every group, and each option with the first comment of its YAML."""

from collections import Counter
from pathlib import Path

_HEAD = """\
python train.py [group=option ...] [key=value ...]     train one network
python train.py -m group=option,option key=1,2,3       sweep: one job for each combination
python train.py repeat=5 [...]                         five seeds, one after the other: mean and deviation
python train.py --cfg job [...]                        show the configuration and stop

  python train.py model=resnet34 optim=adam_onecycle
  python train.py experiment=ft3 seed=1
  python train.py -m model=resnet18,resnet34 optim=sgd_cosine,adam_onecycle seed=1,2,3
  python train.py -m +study=learning_rate study.budget=minutes
  python train.py resume=runs/<experiment>/<time>        go on with a run that was stopped

Groups and their options:
"""
_ORDER = (
    "data", "augment", "mix", "model", "loss", "optim", "optimizer", "scheduler", "trainer", "callbacks", "logger",
    "experiment", "study",
)  # fmt: skip


def describe(path: Path) -> str:
    """The first comment of a YAML file."""
    for line in path.read_text().splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ")
    return ""


def options(conf: Path, group: str) -> dict[str, str]:
    """The options of a group, those in folders after the others, and what each is."""
    found = [
        (len(path.parts), str(path.relative_to(conf / group).with_suffix("")), path) for path in (conf / group).rglob("*.yaml")
    ]
    return {name: describe(path) for _, name, path in sorted(found)}


def _paired(conf: Path, pairs: set[str]) -> tuple[list[str], list[str]]:
    """The optimizers and the schedules that are paired each with each: most optimizers have the same schedules."""
    schedules = list(options(conf, "scheduler"))
    having = {name: {own for own in schedules if f"{name}_{own}" in pairs} for name in options(conf, "optimizer")}
    [(usual, _)] = Counter(frozenset(own) for own in having.values() if own).most_common(1)
    return [name for name, own in having.items() if own >= usual], sorted(usual)


def text(conf: Path) -> str:
    """The whole help page."""
    present = [path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra"]
    lines = [_HEAD]
    for group in sorted(present, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)):
        lines.append(group)
        shown = {name: about for name, about in options(conf, group).items() if name != "standard"}
        if group == "optim":
            optimizers, schedules = _paired(conf, set(shown))
            pairs = [f"{optimizer}_{schedule}" for optimizer in optimizers for schedule in schedules]
            shown = {
                "<optimizer>_<scheduler>": f"any of {', '.join(optimizers)}",
                "": f"with any of {', '.join(schedules)}",
                **{name: about for name, about in shown.items() if name not in pairs},
            }
        width = max(map(len, shown)) if group == "optim" else 20
        lines += [f"  {name:<{width}} {about}" for name, about in shown.items()]
        lines.append("")
    for group, default in (("hydra/launcher", "one job after the other"), ("hydra/sweeper", "every combination")):
        lines += [group, f"  {'basic':<20} {default}"]
        lines += [f"  {name:<20} {about}" for name, about in options(conf, group).items()]
        lines.append("")
    return "\n".join(lines)
