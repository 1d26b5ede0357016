"""Muon: momentum with orthogonal updates of convolutions' filters; Adam trains all the rest.

Sources: K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024); Newton-Schulz
iteration: Bernstein & Newhouse 2024, arXiv 2409.20325. Own code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.6

ITERATIONS = 3

# drives singular values from (0, 1] to about 1, quickly rather than exactly
QUINTIC = (3.4445, -4.7750, 2.0315)

BETAS, EPS = (0.9, 0.95), 1e-8

ADAM_RATE = 1 / 24  # Adam's rate over Muon's: 0.01 at a rate of 0.24


def orthogonal(matrix: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """The nearest matrix to an R×C matrix whose singular values are (nearly) equal.

    By a Newton-Schulz iteration in the matrix's precision.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """An optimiser of two kinds of groups of parameters, "filters" and "adam".

    Filters are O×I×K×K weights, moved along the orthogonal update of their O×I·K·K matrix. Where a
    group is `scale_free` (a normalisation follows), they keep the norm √O, so that the rate is the
    relative size of a step. Groups of kind "adam" hold all other parameters.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, low: bool) -> None:
        """low: orthogonalise in bfloat16."""
        self.low = low
        super().__init__(
            groups, {"lr": lr, "kind": "adam", "scale_free": False, "weight_decay": 0.0}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update; a closure, which torch's optimisers may take, is refused (ValueError)."""
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradients first")
        for group in self.param_groups:
            move = self.move_filters if group["kind"] == "filters" else self.move_rest
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move(parameter, parameter.grad, group)

    def move_filters(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(MOMENTUM).add_(gradient)
        ahead = gradient.add(state["momentum"], alpha=MOMENTUM)  # Nesterov
        matrix = ahead.reshape(len(weight), -1)
        update = (
            orthogonal(matrix.bfloat16() if self.low else matrix)
            .to(weight.dtype)
            .view(weight.shape)
        )
        if group["scale_free"]:
            weight.mul_(len(weight) ** 0.5 / (weight.norm() + 1e-7))
        else:
            weight.mul_(1 - group["lr"] * group["weight_decay"])
        if isinstance(group["lr"], Tensor):
            weight.sub_(group["lr"] * update)
        else:
            weight.add_(update, alpha=-group["lr"])

    def move_rest(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if weight.is_complex():  # Adam moves real and imaginary parts each by itself
            weight, gradient = torch.view_as_real(weight), torch.view_as_real(gradient)
        if not state:
            on_device = group.get("capturable", False)  # where a recorded step counts
            state["step"] = torch.zeros((), device=weight.device if on_device else "cpu")
            state["exp_avg"], state["exp_avg_sq"] = (
                torch.zeros_like(weight),
                torch.zeros_like(weight),
            )
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - BETAS[0])
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - BETAS[1])
        count = state["step"] if group.get("capturable") else float(state["step"])
        mean = state["exp_avg"] / (1 - BETAS[0] ** count)
        spread = (state["exp_avg_sq"] / (1 - BETAS[1] ** count)).sqrt().add_(EPS)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        if isinstance(group["lr"], Tensor):
            weight.sub_(group["lr"] * mean / spread)
        else:
            weight.addcdiv_(mean, spread, value=-group["lr"])


def muon(net: nn.Module, lr: float, weight_decay: float, low: bool) -> Muon:
    """Muon for the trained 4-dimensional weights, Adam for the rest at ADAM_RATE of the rate.

    Weight decay acts on weights that are not scale-free.
    """
    free = {
        id(m.weight)
        for m in net.modules()
        if isinstance(m, nn.Conv2d) and getattr(m, "scale_free", False)
    }
    trained = [p for p in net.parameters() if p.requires_grad]
    filters = [p for p in trained if p.ndim == 4 and not p.is_complex()]
    taken = set(map(id, filters))
    groups = [
        {
            "params": [p for p in filters if id(p) in free],
            "kind": "filters",
            "scale_free": True,
        },
        {
            "params": [p for p in filters if id(p) not in free],
            "kind": "filters",
            "weight_decay": weight_decay,
        },
        {
            "params": [p for p in trained if p.ndim != 1 and id(p) not in taken],
            "weight_decay": weight_decay,
            "lr_scale": ADAM_RATE,
        },
        {"params": [p for p in trained if p.ndim == 1], "lr_scale": ADAM_RATE},
    ]
    return Muon([group for group in groups if group["params"]], lr, low)
