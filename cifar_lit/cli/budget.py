"""`+study=NAME study.budget=minutes|hour|full`, as it is typed. Imports nothing slow, as all that looks at what was typed."""

from pathlib import Path

from cifar_lit.cli.errors import UsageError

_BUDGET, _NAME = "study.budget=", ("study=", "+study=")
# Shows the configuration of one job, and sweeps nothing; or is one job, whose values somebody else chose (W&B's agents).
_ONE_JOB = ("--cfg", "-c", "--info", "-i", "--resolve", "hydra.mode=RUN")


def expanded(arguments: list[str], conf: Path) -> list[str]:
    """The arguments as Hydra takes them: `study.budget` chooses among the files of conf/study/budget. Raises UsageError."""
    studies, budgets = (
        sorted(path.stem for path in folder.glob("*.yaml")) for folder in (conf / "study", conf / "study" / "budget")
    )
    named = [item for item in arguments if item.startswith(_NAME)]
    typed = []
    for item in arguments:
        name, _, value = item.partition("=")
        if item.startswith(_BUDGET):
            if value not in budgets:
                raise UsageError(f"{item}: allowed is {', '.join(budgets)}")
            if not named:
                raise UsageError(f"{item}: a budget is a study's: add +study=<name>, one of {', '.join(studies)}")
            study = named[-1].partition("=")[2]
            own = (conf / "study" / "budget" / study / f"{value}.yaml").exists()
            typed.append(f"study/budget={study}/{value}" if own else f"study/budget={value}")
        elif item in named:
            if value not in studies:
                raise UsageError(f"{item}: no such study; allowed is {', '.join(studies)}")
            typed.append(f"+study={value}")
        elif name in ("study", "+study"):
            raise UsageError(f"{name}: give a study with +study=<name>, one of {', '.join(studies)}")
        else:
            typed.append(item)
    recipe = next((item for item in arguments if item.lstrip("+").startswith("experiment=") and not item.endswith("=null")), None)
    if named and recipe:  # the study's choices would win, and another network would be trained under the recipe's name
        raise UsageError(f"{recipe}: {named[0]} has a recipe of its own, which would take the place of this one; leave one out")
    if named and not {"-m", "--multirun", *_ONE_JOB} & set(arguments):
        raise UsageError(f"{named[0]}: a study is a sweep: python train.py -m {' '.join(arguments)}")
    return typed
