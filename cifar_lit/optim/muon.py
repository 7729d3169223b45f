"""Muon for filters, SGD for the rest."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Of the quintic iteration that drives singular values towards 1 (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)

log = logging.getLogger(__name__)


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    """Roughly the nearest orthogonal matrices: (k, m, n) -> alike, singular values between about 0.7 and 1.2.

    Newton-Schulz iterations, in bfloat16 on CUDA, where that is enough and, from Ampere on, fast, and in float32 elsewhere.
    """
    rough = matrices.device.type == "cuda" and _computes_bfloat16()
    x = matrices.bfloat16() if rough else matrices.float()
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    if rough:
        for _ in range(steps):
            x = _polynomial(x @ x.mT) @ x
    else:
        x = _product(x @ x.mT, steps) @ x
    return (x if wide else x.mT).to(matrices.dtype)


@cache
def _computes_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _polynomial(gram: Tensor) -> Tensor:
    """What an iteration multiplies by, of the matrices' products with themselves, (k, m, m).

    a x + (b gram + c gram^2) x as one product: sums of large matrices cost a GPU more than those of small ones.
    """
    a, b, c = _COEFFICIENTS
    return a * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device) + b * gram + c * (gram @ gram)


def _product(gram: Tensor, steps: int) -> Tensor:
    """What all iterations together multiply by: products of small matrices, (k, m, m), where n may be many times m.

    All are polynomials of the first gram, so they commute. Rounded to bfloat16 it would have negative eigenvalues, which grow.
    """
    product = factor = _polynomial(gram)
    for _ in range(steps - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = factor @ product
    return product


def advance(
    filters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    lr: float | Tensor,
    *,
    momentum: float,
    weight_decay: float,
    normalize: bool,
    steps: int,
) -> None:
    """One step of Muon on filters (k, C, h, w) and their momenta, in place. Those of one shape are orthogonalised together."""
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, gradients)
    updates = torch._foreach_add(gradients, buffers, alpha=momentum)
    if normalize:
        kept: list[Any] = [len(f) ** 0.5 / norm for f, norm in zip(filters, torch._foreach_norm(filters), strict=True)]
    else:
        kept = [1.0 - weight_decay * lr] * len(filters)
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for index, f in enumerate(filters):
        by_shape[f.shape].append(index)
    for indices in by_shape.values():
        matrices = torch.stack([_rows(updates[index], filters[index]) for index in indices])
        turned = orthogonalize(matrices, steps) * -lr
        for index, step in zip(indices, turned, strict=True):
            filters[index].mul_(kept[index]).add_(_unrows(step, filters[index]))


@cache
def compiled_advance() -> Callable[..., None]:
    """`advance` as few kernels: by itself every sum and product of a filter is one. Compiled once a process."""
    return torch.compile(advance, dynamic=False)


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
        self.advance = advance
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
    def compile(self) -> None:
        """Compile the steps of filters, now, on copies. lr must be a tensor by then: a number would become part of the code.

        Where the compiler fails, the log says so and the steps stay as they are: torch 2.11's does for ResNet-18 on CUDA.
        """
        self.advance = compiled_advance()
        try:
            for group in self.param_groups:
                if group["muon"]:
                    filters: list[Tensor] = [nn.Parameter(f.clone()) for f in group["params"]]
                    self._advance(group, filters, *([torch.zeros_like(f) for f in filters] for _ in range(2)))
        except torch._dynamo.exc.TorchDynamoException as error:
            log.warning("Muon's steps stay uncompiled, which is slower: torch's compiler fails (%s)", type(error).__name__)
            self.advance = advance

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
        buffers = self._buffers(parameters)
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        updates = torch._foreach_add(gradients, buffers, alpha=group["momentum"])
        torch._foreach_add_(parameters, torch._foreach_mul(updates, -group["lr"]))

    def _muon(self, group: dict[str, Any], filters: list[Tensor]) -> None:
        gradients = [p.grad for p in filters if p.grad is not None]
        self._advance(group, filters, gradients, self._buffers(filters))

    def _advance(self, group: dict[str, Any], filters: list[Tensor], gradients: list[Tensor], buffers: list[Tensor]) -> None:
        options = {name: group[name] for name in ("lr", "momentum", "weight_decay")}
        self.advance(filters, gradients, buffers, normalize=self.normalize, steps=self.steps, **options)

    def _buffers(self, parameters: list[Tensor]) -> list[Tensor]:
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return [self.state[p]["momentum_buffer"] for p in parameters]


def _last(tensor: Tensor) -> bool:
    """Whether the channels of filters (k, C, h, w) come last in memory."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _rows(tensor: Tensor, like: Tensor) -> Tensor:
    """Filters (k, C, h, w) as a matrix of one row a filter, its columns in the order of the memory of `like`.

    The order of columns does not matter: orthogonalising commutes with it.
    """
    return (tensor.permute(0, 2, 3, 1) if _last(like) else tensor).reshape(len(tensor), -1)


def _unrows(matrix: Tensor, like: Tensor) -> Tensor:
    """What `_rows` was given: a view."""
    filters, channels, height, width = like.shape
    return matrix.view(filters, height, width, channels).permute(0, 3, 1, 2) if _last(like) else matrix.view(like.shape)
