"""Muon for filters, SGD for the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Of the quintic iteration that drives singular values towards 1 (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    """Roughly the nearest orthogonal matrices: (k, m, n) -> alike, singular values between about 0.7 and 1.2.

    Newton-Schulz iterations, in bfloat16 on CUDA, where that is enough and fast, and in float32 elsewhere.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16() if matrices.device.type == "cuda" else matrices.float()
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)


class MuonSGD(Optimizer):
    """Muon (Jordan et al. 2024) for convolution filters, SGD with Nesterov momentum for everything else.

    lr: of Muon, whose every update is an orthogonal matrix. rest_lr_scale: SGD runs at so many times lr.
    normalize: filters keep one norm, the root of their number, so that lr is a relative change (airbench); they then
    need no weight decay, and get none. weight_decay: of SGD, and of Muon, decoupled, where filters are not normalised.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.6,
        rest_lr_scale: float = 1.0,
        rest_momentum: float = 0.85,
        normalize: bool = True,
        steps: int = 5,
    ) -> None:
        for name, value in (("momentum", momentum), ("rest_momentum", rest_momentum)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"optimizer.{name}={value}: allowed is 0 up to, not with, 1")
        if not rest_lr_scale > 0.0:
            raise ValueError(f"optimizer.rest_lr_scale={rest_lr_scale}: allowed is above 0")
        if steps < 1:
            raise ValueError(f"optimizer.steps={steps}: allowed is 1 or more")
        self.normalize, self.steps = normalize, steps
        filters = {"muon": True, "lr": lr, "momentum": momentum}
        rest = {"muon": False, "lr": lr * rest_lr_scale, "momentum": rest_momentum}
        groups: list[dict[str, Any]] = []
        for given in params:
            group = given if isinstance(given, dict) else {"params": [given]}
            decay = group.get("weight_decay", weight_decay)
            for options in (filters, rest):
                members = [p for p in group["params"] if (p.ndim == 4) == options["muon"]]
                if members:
                    groups.append({**options, "weight_decay": decay, "params": members})
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. closure: computes the loss and its gradients, if they are not there yet."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            decay = group["weight_decay"]
            gradients = [p.grad for p in parameters]
            if not group["muon"] and decay:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
            updates = self._momentum(parameters, gradients, group["momentum"])
            if group["muon"]:
                self._prepare(parameters, decay * group["lr"])
                updates = self._orthogonal(updates)
            torch._foreach_add_(parameters, torch._foreach_mul(updates, -group["lr"]))
        return loss

    def _momentum(self, parameters: list[Tensor], gradients: list[Tensor], momentum: float) -> list[Tensor]:
        """Nesterov's update of each parameter."""
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers: list[Tensor] = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        return list(torch._foreach_add(gradients, buffers, alpha=momentum))

    def _prepare(self, filters: list[Tensor], decay: float | Tensor) -> None:
        """Bring filters to their norm, or decay them."""
        if self.normalize:
            norms = torch._foreach_norm(filters)
            torch._foreach_mul_(filters, [len(f) ** 0.5 / norm for f, norm in zip(filters, norms, strict=True)])
        else:
            torch._foreach_mul_(filters, 1.0 - decay)

    def _orthogonal(self, updates: list[Tensor]) -> list[Tensor]:
        """Each update orthogonalised as a matrix of one row a filter; those of one shape together."""
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, update in enumerate(updates):
            by_shape[update.shape].append(index)
        results: list[Tensor] = list(updates)
        for shape, indices in by_shape.items():
            stacked = torch.stack([updates[index].flatten(1) for index in indices])
            matrices = orthogonalize(stacked, self.steps)
            for place, index in enumerate(indices):
                results[index] = matrices[place].reshape(shape)
        return results
