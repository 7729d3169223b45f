"""Values as they are typed for Hydra, whatever characters they hold."""


def quoted(value: object) -> str:
    """A value in Hydra's quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString  # --help does without Hydra

    return QuotedString(str(value).replace("${", r"\${"), Quote.single).with_quotes()
