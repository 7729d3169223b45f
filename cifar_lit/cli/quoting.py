"""Values as they are typed for Hydra, whatever characters they hold."""

import re
import shlex


def quoted(value: object) -> str:
    """A value in Hydra's quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString  # --help does without Hydra

    return QuotedString(str(value).replace("${", r"\${"), Quote.double).with_quotes()


def read(typed: str) -> str:
    """The word that Hydra reads where `typed` is typed as a value; what it cannot read, or reads as no word, as it is."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # as above
    from hydra.errors import HydraException

    try:
        value = OverridesParser.create().parse_override(f"key={typed}").value()
    except HydraException:
        return typed
    return value.replace(r"\${", "${") if isinstance(value, str) else typed


def argument(key: str, value: object) -> str:
    """`key=value` as it is pasted into a shell."""
    text = str(value)
    plain = re.fullmatch(r"[\w/.:@%+-]+", text, re.ASCII) and ("/" in text or re.match(r"[A-Za-z_]", text))
    word = plain and text.lower() not in ("null", "true", "false", "nan", "inf")  # which Hydra takes for something else
    return shlex.quote(f"{key}={text if word else quoted(text)}")
