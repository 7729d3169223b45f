"""A run small enough for a test, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
# Two seconds of training: 600 drawn images, of which 100 are held out.
TINY = [
    "data=synthetic", "data.train_per_class=6", "data.test_per_class=2", "data.val_size=100", "data.batch_size=50",
    "model=resnet8", "trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks.progress_bar=null",
]  # fmt: skip


@dataclass
class Ran:
    """What a run of `python train.py` came to."""

    code: int
    out: str
    err: str
    folder: Path
