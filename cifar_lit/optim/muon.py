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
        self.buffers: dict[Tensor, tuple[Tensor, list[Tensor]]] = {}  # of a group, by its first filter

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. closure: computes the loss and its gradients, if they are not there yet."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._muon if group["muon"] else self._sgd)(group, parameters)
        return loss

    def _sgd(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers: list[Tensor] = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        updates = torch._foreach_add(gradients, buffers, alpha=group["momentum"])
        torch._foreach_add_(parameters, torch._foreach_mul(updates, -group["lr"]))

    def _muon(self, group: dict[str, Any], filters: list[Tensor]) -> None:
        """All filters side by side in one tensor, in the order of memory: a few large operations, where each filter had its own.

        The order of a matrix's columns does not matter: orthogonalising commutes with it.
        """
        buffer = self._buffer(filters)
        update = torch.cat([_rows(f.grad, f).flatten() for f in filters if f.grad is not None])
        buffer.mul_(group["momentum"]).add_(update)
        update.add_(buffer, alpha=group["momentum"])
        if self.normalize:
            kept: list[Any] = [len(f) ** 0.5 / norm for f, norm in zip(filters, torch._foreach_norm(filters), strict=True)]
        else:
            kept = [1.0 - group["weight_decay"] * group["lr"]] * len(filters)
        parts = update.split([f.numel() for f in filters])
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, f in enumerate(filters):
            by_shape[f.shape].append(index)
        for indices in by_shape.values():
            matrices = torch.stack([parts[index].view(len(filters[index]), -1) for index in indices])
            steps = orthogonalize(matrices, self.steps).mul_(-group["lr"])
            for index, step in zip(indices, steps, strict=True):
                filters[index].mul_(kept[index]).add_(_unrows(step, filters[index]))

    def _buffer(self, filters: list[Tensor]) -> Tensor:
        """The momenta of filters side by side. Each filter's state is its part of it; it may have been loaded, or be missing."""
        known = [self.state[f].get("momentum_buffer") for f in filters]
        buffer, parts = self.buffers.get(filters[0], (torch.empty(0), []))
        if len(parts) != len(known) or any(state is not part for state, part in zip(known, parts, strict=True)):
            rows = [_rows(torch.zeros_like(f) if state is None else state, f) for f, state in zip(filters, known, strict=True)]
            buffer = torch.cat([matrix.flatten() for matrix in rows])
            sizes = [f.numel() for f in filters]
            parts = [_unrows(part, f) for part, f in zip(buffer.split(sizes), filters, strict=True)]
            for f, part in zip(filters, parts, strict=True):
                self.state[f]["momentum_buffer"] = part
            self.buffers[filters[0]] = buffer, parts
        return buffer


def _last(tensor: Tensor) -> bool:
    """Whether the channels of filters (k, C, h, w) come last in memory."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _rows(tensor: Tensor, like: Tensor) -> Tensor:
    """Filters (k, C, h, w) as a matrix of one row a filter, its columns in the order of the memory of `like`."""
    return (tensor.permute(0, 2, 3, 1) if _last(like) else tensor).reshape(len(tensor), -1)


def _unrows(matrix: Tensor, like: Tensor) -> Tensor:
    """What `_rows` was given: a view."""
    filters, channels, height, width = like.shape
    return matrix.view(filters, height, width, channels).permute(0, 3, 1, 2) if _last(like) else matrix.view(like.shape)
