"""What `python train.py --help` prints: every group, and each option with the first comment of its YAML."""

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


def text(conf: Path) -> str:
    """The whole help page."""
    present = [path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra"]
    lines = [_HEAD]
    for group in sorted(present, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)):
        lines.append(group)
        if group == "optim":
            lines.append(f"  {'any pair':<20} <optimizer>_<scheduler> of the next two groups: sgd_cosine, adam_onecycle, ...")
        else:
            lines += [f"  {name:<20} {about}" for name, about in options(conf, group).items() if name != "standard"]
        lines.append("")
    for group, default in (("hydra/launcher", "one job after the other"), ("hydra/sweeper", "every combination")):
        lines += [group, f"  {'basic':<20} {default}"]
        lines += [f"  {name:<20} {about}" for name, about in options(conf, group).items()]
        lines.append("")
    return "\n".join(lines)
