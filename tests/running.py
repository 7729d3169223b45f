"""A run small enough for a test, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
# A second of training: 600 drawn images of 16x16, of which 100 are held out, and half the channels of ResNet-8.
TINY = [
    "data=synthetic", "data.train_per_class=6", "data.test_per_class=2", "data.val_size=100", "data.batch_size=50",
    "data.image_size=16", "model=resnet8", "+model.widths=[8,16,32]", "trainer.max_epochs=2", "trainer.accelerator=cpu",
    "callbacks.progress_bar=null",
]  # fmt: skip


@dataclass
class Ran:
    """What a run of `python train.py` came to."""

    code: int
    out: str
    err: str
    folder: Path
