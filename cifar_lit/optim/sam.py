"""Sharpness-Aware Minimization."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from hydra.utils import get_class
from torch import Tensor
from torch.optim import Optimizer


class SAM(Optimizer):
    """Sharpness-Aware Minimization (Foret et al. 2021): the gradient is taken where the loss nearby is highest.

    Each step runs the closure twice: at the weights, and at the weights moved by `rho` along their gradient. The base
    algorithm then steps from the weights with the second gradient. adaptive: the scale-invariant form (Kwon et al. 2021).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        rho: float = 0.05,
        adaptive: bool = False,
        base: str = "torch.optim.SGD",
        **options: Any,
    ) -> None:
        if not rho > 0.0:
            raise ValueError(f"optimizer.rho={rho} is a radius: it must be above 0")
        super().__init__(params, {"rho": rho, "adaptive": adaptive})
        self.base: Optimizer = get_class(base)(self.param_groups, lr=lr, **options)
        # One list of groups and one state: schedules, checkpoints and clipping then see the base algorithm's own.
        self.param_groups = self.base.param_groups
        self.state = self.base.state
        self.defaults.update(self.base.defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. closure: computes the loss and its gradients, afresh at each call."""
        if closure is None:
            raise ValueError("SAM needs a closure: it computes the gradient twice a step")
        with torch.enable_grad():
            loss = closure()
        weights = self._climb()
        try:
            with torch.enable_grad():
                closure()
        finally:
            for parameter, value in weights:
                parameter.copy_(value)
        self.base.step()
        return loss

    def _climb(self) -> list[tuple[Tensor, Tensor]]:
        """Move each parameter by rho along its gradient; returns what each was, to be put back."""
        graded = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        slopes = [p.grad * p.abs() if group["adaptive"] else p.grad for p, group in graded]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(slope) for slope in slopes]))
        weights = []
        for (parameter, group), slope in zip(graded, slopes, strict=True):
            scaled = slope * parameter.abs() if group["adaptive"] else slope
            weights.append((parameter, parameter.clone()))
            parameter.add_(scaled * (group["rho"] / (norm + 1e-12)))
        return weights

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load into the base algorithm, then share its groups and state again: loading replaces both."""
        self.base.load_state_dict(state_dict)
        self.param_groups, self.state = self.base.param_groups, self.base.state
