"""Steps of SGD and Adam that follow a momentum which the schedule changes, inside a CUDA graph."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

# What torch's classes do besides, and `Cycled` does not.
_UNKNOWN = ("amsgrad", "maximize", "dampening")


def cycles(optimizer: Optimizer) -> bool:
    """Whether the schedule of this optimizer changes its momentum (one-cycle, with cycle_momentum)."""
    return any("max_momentum" in group for group in optimizer.param_groups)


def refusal(optimizer: Optimizer) -> str | None:
    """Why `Cycled` cannot take the steps of an optimizer; None where it can."""
    if not isinstance(optimizer, SGD | Adam):
        return f"the schedule changes the momentum of {type(optimizer).__name__} (scheduler.cycle_momentum=false does not)"
    used = next((name for name in _UNKNOWN for group in optimizer.param_groups if group.get(name)), None)
    return f"the schedule changes the momentum, and optimizer.{used} is set" if used else None


class Cycled:
    """Takes the steps of an optimizer on its own state and groups, with momentum and learning rate as tensors.

    torch's fused kernels hold the momentum as a number, which a graph would keep for ever. Here it is a tensor for each
    group, SGD's momentum or Adam's first beta, that `follow` fills and `step` reads. The arithmetic is torch's, but for
    rounding (tests/test_cycled.py); the state is too, so checkpoints do not show which of the two took a step.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.momenta = [torch.empty((), device=group["params"][0].device) for group in optimizer.param_groups]
        self.follow()

    def follow(self) -> None:
        """Read the numbers that the schedule has set, which must not happen in a graph. Does not wait for the device."""
        for momentum, group in zip(self.momenta, self.optimizer.param_groups, strict=True):
            momentum.fill_(group["betas"][0] if "betas" in group else group["momentum"])

    @torch.no_grad()
    def step(self) -> None:
        """One step with the gradients that are there. Every parameter of a group takes the same steps."""
        self.optimizer._opt_called = True  # type: ignore[attr-defined]  # else torch's schedulers warn that no step was taken
        for momentum, group in zip(self.momenta, self.optimizer.param_groups, strict=True):
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                (self._adam if "betas" in group else self._sgd)(group, parameters, momentum)

    def _sgd(self, group: dict[str, Any], parameters: list[Tensor], momentum: Tensor) -> None:
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        buffers = self._state("momentum_buffer", parameters)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        updates = torch._foreach_add(gradients, torch._foreach_mul(buffers, momentum)) if group["nesterov"] else buffers
        torch._foreach_add_(parameters, torch._foreach_mul(updates, -group["lr"]))

    def _adam(self, group: dict[str, Any], parameters: list[Tensor], beta1: Tensor) -> None:
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        beta2, decay = group["betas"][1], group["weight_decay"]
        if decay and group["decoupled_weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * decay)
        elif decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
        steps = self._state("step", parameters)
        torch._foreach_add_(steps, 1)
        means, squares = self._state("exp_avg", parameters), self._state("exp_avg_sq", parameters)
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, torch._foreach_mul(gradients, 1 - beta1))
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        taken = steps[0].double()  # in single precision 1 - 0.999 keeps four digits
        torch._foreach_mul_(roots, (1 - beta2**taken).rsqrt().float())
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(means, roots)
        torch._foreach_mul_(updates, (-group["lr"] / (1 - beta1.double() ** taken)).float())
        torch._foreach_add_(parameters, updates)

    def _state(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        """The optimizer's own state of that name, begun at zero as torch does."""
        found: list[Tensor] = []
        for parameter in parameters:
            state = self.optimizer.state[parameter]
            if state.get(name) is None:
                state[name] = torch.zeros((), device=parameter.device) if name == "step" else torch.zeros_like(parameter)
            found.append(state[name])
        return found
