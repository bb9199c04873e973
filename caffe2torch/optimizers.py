"""Caffe's update rules where torch's differ. Each stands alone: solver.py prints its source where a solver needs it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class CaffeSGD(torch.optim.Optimizer):
    """SGD whose momentum sums lr * gradient, as Caffe's does.

    torch's sums gradients and multiplies by the lr of the moment: a step down of lr
    shrinks what has been summed at once, in Caffe it lives on.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, group)
        return loss

    def update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["history"] = torch.zeros_like(parameter)
        history, size = state["history"], 1.0
        gradient = parameter.grad + group["weight_decay"] * parameter
        if group["nesterov"]:  # back to where the last step set out, then on
            parameter.add_(history, alpha=momentum)
            size += momentum
        history.mul_(momentum).add_(gradient, alpha=group["lr"])
        parameter.sub_(history, alpha=size)


class CaffeAdam(torch.optim.Adam):
    """Adam that adds eps to sqrt(v) before the bias of v is corrected, as Caffe's does.

    torch adds it afterwards.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        for group in self.param_groups:
            group["delta"] = delta = group.get("delta", group["eps"])
            group["updates"] = updates = group.get("updates", 0) + 1
            group["eps"] = delta / (1 - group["betas"][1] ** updates) ** 0.5
        return super().step(closure)
