"""Optimizers: any class that takes parameter groups, made by name, plus SAM, which neither torch nor timm has."""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import torch
from hydra.utils import get_class
from torch import Tensor, nn
from torch.optim import Optimizer


def parameter_groups(net: nn.Module, *, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    """The trainable parameters, in one group, or with norms and biases (fewer than 2 dimensions) in one without decay."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if decay_norms_and_biases:
        return [{"params": parameters}]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build(
    net: nn.Module,
    *,
    algorithm: str,
    lr: float,
    weight_decay: float = 0.0,
    decay_norms_and_biases: bool = True,
    **options: Any,
) -> Optimizer:
    """The optimizer of a network.

    algorithm: dotted name of the class, `torch.optim.SGD`. lr: the peak, which the schedule scales. Other options are
    the algorithm's own. Raises ValueError for a value out of range, TypeError for an option that it does not have.
    """
    for name, value, allowed in (("lr", lr, "above 0"), ("weight_decay", weight_decay, "0 or more")):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"optimizer.{name}={value!r} is not a number")
        if not 0 <= value < inf or (name == "lr" and value == 0):
            raise ValueError(f"optimizer.{name}={value}: allowed is {allowed}")
    groups = [group for group in parameter_groups(net, decay_norms_and_biases=decay_norms_and_biases) if group["params"]]
    return get_class(algorithm)(groups, lr=lr, weight_decay=weight_decay, **options)


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
