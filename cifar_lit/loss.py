"""Training losses. Validation and test losses are always plain cross-entropy, so that recipes can be compared by them."""

from torch import Tensor, nn
from torch.nn import functional as F


class CrossEntropy(nn.Module):
    """Cross-entropy over labels (N,) or class probabilities (N, C), with label smoothing (Szegedy et al. 2016).

    smoothing: the share of the target that is spread evenly over all classes; 0 is plain cross-entropy.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"loss.smoothing={smoothing} is a share of the target: allowed is 0 up to, not with, 1")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, C) -> the mean loss, a float32 scalar, in full precision whatever the logits came in."""
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.smoothing)
