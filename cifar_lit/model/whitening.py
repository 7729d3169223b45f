"""Patch whitening: a first convolution computed from the images instead of learned."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 5e-4  # added to each eigenvalue, so that directions without variance are not blown up
_PIXELS = 5000 * 32 * 32  # whose patches are held at a time: 5,000 images of 32 pixels a side, or 100 of 224


class PatchWhitening(nn.Module):
    """Principal directions of k x k patches, each scaled to unit variance, and their negatives, then SiLU.

    Images (N, 3, H, W) -> (N, 6 k^2, H - k + 1, W - k + 1), `channels` of them. The filters are a buffer: `fit` sets them
    from images once, before training. Nothing in it is learned, so that the backward pass ends behind it. Source: Page
    2019 (How to train your ResNet, part 8) and Jordan 2024 (airbench, arXiv:2404.00498), who keeps the negatives too.
    """

    weight: Tensor

    def __init__(self, kernel_size: int = 2) -> None:
        super().__init__()
        directions = 3 * kernel_size**2
        self.kernel_size, self.channels = kernel_size, 2 * directions
        # Of use without `fit`, too: an orthogonal basis of the patches.
        basis = nn.init.orthogonal_(torch.empty(directions, directions))
        self.register_buffer("weight", self._filters(basis))

    def _filters(self, directions: Tensor) -> Tensor:
        """Directions (3 k^2, 3 k^2), a row each -> filters and their negatives (6 k^2, 3, k, k)."""
        filters = directions.view(-1, 3, self.kernel_size, self.kernel_size)
        return torch.cat([filters, -filters])

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Whiten the patches of images (N, 3, H, W), normalised as in training. 5,000 images are plenty."""
        total = torch.zeros(self.channels // 2, self.channels // 2, dtype=torch.float64)
        for part in images.split(max(1, _PIXELS // images[0, 0].numel())):
            patches = F.unfold(part, self.kernel_size).transpose(1, 2).flatten(0, 1)
            total += (patches.T @ patches).double().cpu()
        count = len(images) * (images.shape[2] - self.kernel_size + 1) * (images.shape[3] - self.kernel_size + 1)
        values, vectors = torch.linalg.eigh(total / count)
        directions = (vectors / (values + EPSILON).sqrt()).T.flip(0)  # the strongest first
        self.weight.copy_(self._filters(directions.to(self.weight)))

    def forward(self, images: Tensor) -> Tensor:
        return F.silu(F.conv2d(images, self.weight))


def whitening_stems(net: nn.Module) -> list[PatchWhitening]:
    """The patch whitenings of a network, to be fitted before training."""
    return [module for module in net.modules() if isinstance(module, PatchWhitening)]
