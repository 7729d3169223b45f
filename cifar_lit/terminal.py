"""Text from outside for the terminal: names in a foreign bundle or on the disk must not command it."""


def one_line(text: str, most: int) -> str:
    """`text` on one line without control characters, its middle left out where it is long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:10_000])
    return text if len(text) <= most else f"{text[: most // 2 - 2]}...{text[-(most // 2) :]}"


def complaint(error: object, most: int = 2000) -> str:
    """What an error says (it, or its words), as one line."""
    return one_line(" ".join(str(error).split()), most)
