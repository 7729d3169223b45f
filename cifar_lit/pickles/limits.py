"""What a foreign file may ask for at most, and the one line that it gets when it asks for more."""

PICKLE_BYTES = 256 << 20  # of a pickle, weights beside it not counted: a wide ResNet-28-10 in numpy arrays takes 146 MB
OPCODES = 2_000_000  # a ResNet-34 with Adam's state takes 20,000
COPIED = 512 << 20  # characters and entries that the builders may copy, all together
KEYS = 20_000  # of tables, other than texts: numbers can be chosen to collide, texts cannot
DIRECTORY_BYTES = 8 << 20  # a zip's list of entries: 100,000 of them
DIMENSIONS = 8

_BRACKETS = str.maketrans("<>`", "()'")  # notes go into a Markdown card


def printable(text: object, most: int = 400) -> str:
    """A text of a foreign file as one line that neither a terminal nor a Markdown reader takes for more than text."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text)[: 4 * most])
    line = " ".join(line.split()).translate(_BRACKETS)
    return line if len(line) <= most else line[:most] + "..."


class ConvertError(ValueError):
    """A foreign file that cannot be converted: one line, what was found and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason, most=600))
