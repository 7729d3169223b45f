"""Errors in one line: what was given, what is allowed, what to do."""

import difflib
import re
from pathlib import Path


class UsageError(ValueError):
    """Something typed wrongly."""


def one_line(error: BaseException, conf: Path | None = None, arguments: list[str] | None = None) -> str:
    """An exception, however nested, as one line; names that do not exist come with the nearest that do."""
    text = str(error)
    if conf is not None:
        better = _unknown(text, conf, arguments or [])
        if better:
            return better
    cause = error
    # Hydra wraps what a constructor raised, once for each level of the configuration; the innermost says what is wrong.
    while type(cause).__name__ == "InstantiationException" and cause.__cause__ is not None:
        cause = cause.__cause__
    key = re.search(r"full_key: (\S+)", text)
    # Where Hydra made the text of the cause itself, its first line says only where.
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    line = lines[0] if lines else type(cause).__name__
    if type(cause).__name__ == "InstantiationException" and len(lines) > 1:
        line = lines[1]
    if isinstance(cause, OSError) and cause.strerror:
        line = f"{cause.filename}: {cause.strerror}" if cause.filename else cause.strerror
    if key and not re.match(rf"({re.escape(key[1])}|\w+)[.=]", line):
        line = f"{key[1]}: {line}"
    mark = getattr(cause, "problem_mark", None)
    if mark is not None:  # of a YAML file
        return f"{mark.name}:{mark.line + 1}: {getattr(cause, 'problem', None) or line}"
    known = isinstance(cause, ValueError | TypeError | OSError)
    return line if known else f"{type(cause).__name__}: {line}"


def _unknown(text: str, conf: Path, arguments: list[str]) -> str | None:
    # Hydra cannot find a choice, and not load one of several.
    option = re.search(r"Could not (?:find|load) '([\w/]+)/([^'/]*)'", text)
    if option:
        group, name = option.groups()
        names = [path.stem for path in (conf / group).glob("*.yaml")]
        return f"{group}={name}: no such option;{_near(name, names)} all: {', '.join(sorted(names))}"
    key = re.search(r"Could not (?:override|delete from config\.?) '?([^'\s]+?)'?\.?(?:\s|$)", text)
    if key:
        name = key[1]
        known = [*_keys(conf, arguments), *(path.name for path in conf.iterdir() if path.is_dir())]
        mapping = any(other.startswith(f"{name}.") for other in known)  # which Hydra merges with one that is typed
        if mapping and any(item.startswith(f"{name}={{") for item in arguments) and f"~{name}" not in arguments:
            return f"{name}: the recipe gives it other keys, which would stay; to replace them all: '~{name}' '+{name}={{...}}'"
        return f"{name}: no such key or group;{_near(name, known)} see python train.py --help and --cfg job"
    grammar = re.search(r"(no viable alternative|mismatched input|extraneous input|token recognition).*", text)
    if grammar:
        return f"cannot read what was typed: {text.splitlines()[0]}"
    return _several(text)


def _several(text: str) -> str | None:
    """What was meant for a sweep."""
    several = re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text)
    if several:
        name, values = several.groups()
        return f"{name}={values}: several values are a sweep, which wants -m; one list is typed {name}=[{values}]"
    if "does not support sweep type" in text:
        return "ranges, as interval(...) and tag(log,...), are for hydra/sweeper=optuna"
    return None


def _near(name: str, known: list[str]) -> str:
    # By the last part too: `optimizer.learning_rate` is nearer to `optimizer.lr` than any whole string says.
    near = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
    return f" nearest: {', '.join(near)};" if near else ""


def _keys(conf: Path, arguments: list[str]) -> list[str]:
    """Every key of the configuration that the group choices among the arguments give."""
    from hydra import compose, initialize_config_dir  # only where something was typed wrongly
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig

    groups = [item for item in arguments if re.match(r"[\w/]+=[\w/]+$", item) and (conf / item.split("=")[0]).is_dir()]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            cfg = compose("train", overrides=groups)
    except Exception:  # only a suggestion is lost
        return []
    keys: list[str] = []

    def walk(node: DictConfig, prefix: str) -> None:
        for name in node:
            keys.append(f"{prefix}{name!s}")
            child = node._get_node(name)
            if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
                walk(child, f"{prefix}{name!s}.")

    walk(cfg, "")
    return keys
