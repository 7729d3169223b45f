"""The classes that a network confuses most: a table of all pairs, and a picture of the worst with examples."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cifar_lit import bundle, runs
from cifar_lit.atomic import writing
from cifar_lit.bundle import Facts
from cifar_lit.data.dataset import Split
from cifar_lit.explain import draw
from cifar_lit.explain.confusions_figure import Pair, Seen, draw_pairs
from cifar_lit.explain.request import Request
from cifar_lit.predict import Predictor
from cifar_lit.runs import records

COLUMNS = ("true", "predicted", "images", "share_of_true", "share_of_errors", "reverse_images",
           "true_superclass", "predicted_superclass")  # fmt: skip


def run(request: Request) -> list[Path]:
    """Write confused_pairs.csv and confusions.png. Returns the files."""
    predictor, split = request.predictor, request.tests.test
    facts = predictor.facts
    table = recorded(request.bundle, facts)
    source = "the run's confusion.csv"
    seen: dict[int, Seen] = {}
    if table is None:
        seen = look(predictor, split, range(len(facts.classes)))
        table, source = count(seen), "this network on the test images, now"
    pairs = confused(table)
    if not pairs:
        raise ValueError(f"none of the {table.sum():,} test images is taken for another class: there are no confusions to draw")
    worst = most_confused(pairs, request.top)
    seen = seen or look(predictor, split, sorted({index for pair in worst for index in (pair.true, pair.predicted)}))
    words = summary(table, facts)
    print(f"Counts: {source}. {words}")
    request.out.mkdir(parents=True, exist_ok=True)
    listed = write_pairs(pairs, table, facts, request.out / "confused_pairs.csv")
    return [listed, draw.write(draw_pairs(worst, table, facts, seen, words), request.out / "confusions.png")]


def recorded(path: str, facts: Facts) -> np.ndarray | None:
    """The confusion matrix that a run wrote when it tested this bundle: a row a true class. None where there is none."""
    folder = runs.run_of(Path(path))
    if folder is None or not Path(path).is_dir() or not bundle.is_bundle(folder / "model"):
        return None  # other weights of the run than those it tested
    file = folder / "confusion.csv"
    if not file.exists():
        return None
    found = records.confusion(folder)
    if found is None or found.classes != facts.classes:
        raise ValueError(f"{file}: no table of the network's {len(facts.classes)} classes; delete it to have them counted anew")
    return found.table


def look(predictor: Predictor, split: Split, classes: Iterable[int]) -> dict[int, Seen]:
    """The test images of each of some classes, and the probabilities that the network gives them."""
    own = {index: split.images[np.flatnonzero(split.labels == index)] for index in classes}
    return {index: Seen(images, predictor.probabilities(images)) for index, images in own.items()}


def count(seen: dict[int, Seen]) -> np.ndarray:
    """The confusion matrix of the images of all classes: a row a true class, a column a predicted one."""
    return np.stack([np.bincount(own.chances.argmax(1), minlength=len(seen)) for _, own in sorted(seen.items())])


def confused(table: np.ndarray) -> list[Pair]:
    """All pairs of which at least one image was confused, the most frequent first."""
    pairs = [Pair(int(a), int(b), int(table[a, b]), int(table[b, a])) for a, b in np.argwhere(table) if a != b]
    return sorted(pairs, key=lambda pair: (-pair.images, pair.true, pair.predicted))


def most_confused(pairs: list[Pair], top: int) -> list[Pair]:
    """The pairs with most mistakes in both directions together, each once, in its more frequent direction."""
    once = {frozenset((pair.true, pair.predicted)): pair for pair in reversed(pairs)}
    return sorted(once.values(), key=lambda pair: (-pair.images - pair.reverse, -pair.images, pair.true, pair.predicted))[:top]


def summary(table: np.ndarray, facts: Facts) -> str:
    """How many images are mistaken and, where there are superclasses, how many mistakes stay within theirs."""
    errors = table - np.diag(np.diag(table))
    words = f"{errors.sum():,} of {table.sum():,} test images mistaken ({100 * errors.sum() / table.sum():.1f}%)"
    if facts.superclass_of and errors.sum():
        alike = np.equal.outer(facts.superclass_of, facts.superclass_of)
        inside = errors[alike].sum() / errors.sum()
        even = (errors.sum(1) * (alike.sum(1) - 1)).sum() / errors.sum() / (len(table) - 1)
        words += f"; {100 * inside:.1f}% of the mistakes stay within the superclass ({100 * even:.1f}% if spread evenly)"
    return words


def write_pairs(pairs: list[Pair], table: np.ndarray, facts: Facts, path: Path) -> Path:
    """Write all pairs as CSV, the most frequent first. Shares are of the true class's images, and of all mistakes."""
    images, errors = table.sum(1), table.sum() - np.trace(table)
    with writing(path) as part, open(part, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for pair in pairs:
            shares = [f"{pair.images / whole:.6f}" for whole in (images[pair.true], errors)]
            classes = (pair.true, pair.predicted)
            names, parents = [facts.classes[index] for index in classes], [facts.superclass(index) or "" for index in classes]
            rows.writerow([*names, pair.images, *shares, pair.reverse, *parents])
    return path
