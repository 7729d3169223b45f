"""One network over clean and corrupted test images, and over others: all that is measured, as plain numbers."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cifar_lit.data.dataset import Split
from cifar_lit.data.order import holdout
from cifar_lit.predict import Predictor
from cifar_lit.robustness import ood
from cifar_lit.robustness.corruptions import NAMES, SEVERITIES, corrupt
from cifar_lit.robustness.measure import Bins, Score, logits, score
from cifar_lit.robustness.official import Official
from cifar_lit.runs.records import BINS

VALUES = ("acc", "nll", "ece", "nll_calibrated", "ece_calibrated")  # of a Score, that are written down
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is to be measured, of which nothing is loaded twice.

    tests: the network's test images. official: CIFAR-100-C's files; None: corruptions are generated. others: a folder of
    images of other things. limit: so many test images, of each class its share. threads: that corrupt images meanwhile.
    """

    predictor: Predictor
    tests: Split
    official: Official | None
    others: Path | None
    limit: int | None
    seed: int
    threads: int
    batch_size: int = 250

    def run(self, say: Say) -> dict[str, Any]:
        """The numbers, as JSON has them. say: is told of the progress, a line at a time. Raises DataError, ValueError."""
        chosen = self.chosen(self.tests.labels)
        say(f"clean: {len(chosen):,} images")
        own = self._logits(self._prepared(self.tests, chosen))
        clean = score(own, self.tests.labels[chosen], self.predictor.facts.temperature)
        # Before the long part: a folder that is no use is told of in seconds.
        outside = ood.compare(self.predictor, own, self.others, self.limit, self.seed, self.batch_size) if self.others else None
        cells: dict[str, list[Score]] = {}
        began = time.monotonic()
        for done, name in enumerate(NAMES):
            left = f", about {(time.monotonic() - began) / done * (len(NAMES) - done):.0f} s left" if done else ""
            say(f"{name} ({done + 1} of {len(NAMES)}{left})")
            cells[name] = [self._cell(name, severity, chosen) for severity in SEVERITIES]
        return {
            "images": len(chosen),
            "clean": _values(clean),
            "corruptions": {
                name: [{"severity": severity, **_values(one)} for severity, one in zip(SEVERITIES, scores, strict=True)]
                for name, scores in cells.items()
            },
            "mean": _mean(clean, [one for scores in cells.values() for one in scores]),
            "reliability": _reliability(clean, [one for scores in cells.values() for one in scores]),
            "ood": outside and asdict(outside),
        }

    def chosen(self, labels: np.ndarray) -> np.ndarray:
        """Which images: all, or `limit` of them, of each class its share, always the same ones."""
        if self.limit is None or self.limit >= len(labels):
            return np.arange(len(labels))
        return holdout(labels, self.limit)[1]

    def _cell(self, name: str, severity: int, chosen: np.ndarray) -> Score:
        """The score of all images under one corruption at one severity."""
        if self.official is None:
            made = self._ahead(lambda part: corrupt(self._fitting(self.tests, part), name, severity, self.seed, part), chosen)
            labels = self.tests.labels[chosen]
        else:
            split = self.official.split(name, severity)
            chosen = self.chosen(split.labels)  # in the order of the files, which is not that of the test images
            made, labels = self._prepared(split, chosen), split.labels[chosen]
        return score(self._logits(made), labels, self.predictor.facts.temperature)

    def _logits(self, batches: Iterator[np.ndarray]) -> np.ndarray:
        values = np.concatenate(list(logits(self.predictor, batches)))
        if not np.isfinite(values).all():
            raise ValueError("the network's answers are not finite numbers: it cannot be measured")
        return values

    def _prepared(self, split: Split, chosen: np.ndarray) -> Iterator[np.ndarray]:
        return (self._fitting(split, part) for part in self._parts(chosen))

    def _fitting(self, split: Split, part: np.ndarray) -> np.ndarray:
        """Images as the network sees them: (N, H, W, 3) uint8."""
        images = split.images[part]
        if images.shape[1:3] == self.predictor.facts.image_size:
            return images
        return np.stack([self.predictor.prepare(image) for image in images])

    def _parts(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        return (chosen[start : start + self.batch_size] for start in range(0, len(chosen), self.batch_size))

    def _ahead(self, make: Callable[[np.ndarray], np.ndarray], chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Batches in order, of which threads make the next few while the network looks at one."""
        parts = self._parts(chosen)
        pool = ThreadPoolExecutor(self.threads)
        try:
            waiting = deque(pool.submit(make, part) for part in islice(parts, self.threads + 1))
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(make, part) for part in islice(parts, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for what is being made, not for what is next


def _values(one: Score) -> dict[str, Any]:
    return {name: getattr(one, name) for name in VALUES}


def _mean(clean: Score, scores: list[Score]) -> dict[str, Any]:
    """Over all corruptions and severities alike; the error not divided by another network's."""
    means = {
        name: None if getattr(clean, name) is None else float(np.mean([getattr(one, name) for one in scores])) for name in VALUES
    }
    return {**means, "error": 1 - means["acc"], "error_over_clean": clean.acc - means["acc"]}  # type: ignore[operator]


def _reliability(clean: Score, scores: list[Score]) -> dict[str, Any]:
    """The bins of the clean images, and of the corrupted ones together, before and after the temperature."""
    tables: dict[str, Any] = {}
    for which, group in (("clean", [clean]), ("corrupted", scores)):
        before = sum((one.bins for one in group[1:]), group[0].bins)
        after = [one.bins_calibrated for one in group if one.bins_calibrated is not None]
        tables[which] = {"before": _table(before), "after": _table(sum(after[1:], after[0])) if after else None}
    return tables


def _table(bins: Bins) -> dict[str, Any]:
    rows = [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "images": int(images),
            "confidence": float(confidence / images) if images else None,
            "accuracy": float(hits / images) if images else None,
        }
        for number, (images, confidence, hits) in enumerate(zip(bins.images, bins.confidence, bins.hits, strict=True))
    ]
    return {"ece": bins.ece, "bins": rows}
