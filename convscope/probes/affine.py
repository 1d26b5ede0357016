"""A network without nonlinear parts is one affine map x ↦ W x + b: the map itself, and which part stands in its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.probes.laws import sides
from convscope.probes.trials import (
    KINDS,
    SCALES,
    Operator,
    Shown,
    check_shape,
    device_of,
    draw,
    name_of,
    private,
    show_shape,
)

TRIALS = 26  # inputs at each magnitude, twice


class NotAffineError(UserError):
    """The network is no affine map; `part` is the path of the first part (in order of execution) that is not affine."""

    def __init__(self, message: str, part: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class Part:
    """A module as it stands in a network: what it does to the inputs it gets there (its first call)."""

    name: str
    kind: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    affine: bool
    error: float


@dataclass(frozen=True, eq=False)
class Collapse(Shown):
    """The affine map of a network: `weight` (outputs × inputs) and `bias`, both float64.

    `max_error` is max |W x + b − f(x)| / max |f(x)| over the checked inputs, both sides in float64; `agreement` the share of them with the
    same largest output (None with a single output). `rank` counts singular values above the largest · max(outputs, inputs) · 2⁻⁵².
    """

    weight: Tensor
    bias: Tensor
    rank: int
    singular_values: tuple[float, ...]
    max_error: float
    agreement: float | None
    checked: int
    in_shape: tuple[int, ...]

    @property
    def templates(self) -> Tensor:
        """The rows of W as images: outputs × channels × height × width."""
        return self.weight.reshape(-1, *self.in_shape)

    def __call__(self, x: Tensor) -> Tensor:
        """W x + b on a batch of samples."""
        return x.to("cpu", torch.float64).flatten(1) @ self.weight.T + self.bias

    def rows(self) -> list[tuple[str, ...]]:
        shown = ", ".join(f"{s:.4g}" for s in self.singular_values[:10]) + (
            " …" if len(self.singular_values) > 10 else ""
        )
        same = "–" if self.agreement is None else f"{self.agreement:.2%}"
        return [
            (
                "affine map",
                f"{self.weight.shape[0]} outputs × {self.weight.shape[1]:,} inputs ({show_shape(self.in_shape)})",
            ),
            ("rank", str(self.rank)),
            ("singular values", shown),
            ("largest relative error", f"{self.max_error:.3g} on {self.checked:,} inputs"),
            ("same predictions", same),
        ]


def collapse(
    model: Callable[..., Any],
    in_shape: Sequence[int],
    *,
    inputs: Tensor | None = None,
    method: Literal["impulses", "gradients"] = "impulses",
    batch: int = 256,
    seed: int = 0,
) -> Collapse:
    """A network of affine parts as one matrix and bias, exactly: b = f(0), column i of W is f(eᵢ) − f(0).

    A module is copied, put into evaluation mode and measured in float64. `inputs` (N × in_shape) are the samples on which map and network
    are compared, a test set for instance; without them 256 normally distributed ones. `method` "gradients" takes the rows of W instead, one
    backward pass an output, which is quicker for large networks with few outputs. Raises NotAffineError naming the part that is not affine.
    """
    in_shape = check_shape(in_shape, 1, "one sample's, channels first, as (3, 32, 32)")
    network = private(model)
    if isinstance(network, nn.Module):
        network.eval()
    operator = Operator(network, in_shape, seed=seed)
    if operator.coupled:
        raise UserError(
            f"{operator.name} mixes the samples of a batch: its output for a sample is no function of that sample"
        )
    error = affine_error(operator, seed)
    if error > operator.tolerance:
        raise _not_affine(network, in_shape, operator, error, seed)
    zero = operator(operator.zeros())[0]
    bias = zero.flatten()
    count = operator.zeros()[0].numel()
    if method == "gradients":
        weight = _gradients(operator, len(bias))
    else:
        weight = torch.empty(len(bias), count, dtype=torch.float64)
        for start in range(0, count, batch):
            stop = min(start + batch, count)
            impulses = torch.zeros(stop - start, count, dtype=torch.float64)
            impulses[torch.arange(stop - start), torch.arange(start, stop)] = 1.0
            weight[:, start:stop] = (operator(impulses.reshape(-1, *in_shape)) - zero).flatten(1).T
    if inputs is None:
        inputs = torch.randn(
            256, *in_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    elif tuple(inputs.shape[1:]) != in_shape or len(inputs) == 0:
        raise UserError(f"inputs of {show_shape(inputs.shape)}: samples are {show_shape(in_shape)}")
    values = torch.linalg.svdvals(weight)
    eps = torch.finfo(operator.precision).eps
    largest = difference = 0.0
    same = 0
    for part in inputs.split(batch):
        part = part.to("cpu", torch.float64)
        network_says, map_says = operator(part).flatten(1), part.flatten(1) @ weight.T + bias
        largest = max(largest, float(network_says.abs().max()))
        difference = max(difference, float((network_says - map_says).abs().max()))
        same += int((network_says.argmax(1) == map_says.argmax(1)).sum())
    return Collapse(
        weight=weight,
        bias=bias,
        rank=int((values > values.max() * max(weight.shape) * eps).sum()),
        singular_values=tuple(values.tolist()),
        max_error=difference / largest if largest > 0 else difference,
        agreement=same / len(inputs) if len(bias) > 1 else None,
        checked=len(inputs),
        in_shape=in_shape,
    )


def affine_error(operator: Operator, seed: int = 0) -> float:
    """The largest relative error of g(x + y) = g(x) + g(y) and g(ax) = a g(x), g = f − f(0), which all affine maps keep and no others."""
    generator = torch.Generator().manual_seed(seed)
    kinds, worst = tuple(KINDS), 0.0
    for start in range(0, TRIALS, 13):
        turn = range(start, start + 13)
        scale = [SCALES[(6 + 5 * t) % 13] for t in turn]
        x = draw(operator, [kinds[t % len(kinds)] for t in turn], scale, generator)
        y = draw(operator, [kinds[(3 * t + 1) % len(kinds)] for t in turn], scale, generator)
        left, right, largest, size = sides(operator, "additivity", x, y, {})
        finite = operator.refuse_bad(left, size) & operator.refuse_bad(right, size)
        error = operator.error(left, right, largest, size).flatten(1).amax(1)
        worst = max(worst, float(torch.where(finite, error, torch.inf).max()))
        left, right, largest, size = sides(
            operator, "homogeneity", x, x, {"factor": -1.0 - start / 26}
        )
        error = operator.error(left, right, largest, size).flatten(1).amax(1)
        worst = max(worst, float(torch.where(error.isfinite(), error, torch.inf).max()))
        if worst > operator.tolerance:
            break
    return worst


def _gradients(operator: Operator, outputs: int) -> Tensor:
    x = torch.zeros(
        outputs, *operator.shape, dtype=operator.dtype, device=operator.device, requires_grad=True
    )
    try:
        with torch.enable_grad():
            out = operator.f(x.clone()).flatten(1)
            (rows,) = torch.autograd.grad(out.diagonal().sum(), x)
    except RuntimeError as error:
        raise UserError(
            f"{operator.name} has no gradients ({one_line(error)}): collapse it by impulses"
        ) from None
    return rows.flatten(1).to("cpu", torch.float64)


def _not_affine(
    network: Callable[..., Any],
    in_shape: tuple[int, ...],
    operator: Operator,
    error: float,
    seed: int,
) -> NotAffineError:
    found = (
        parts(network, in_shape, first=True, seed=seed) if isinstance(network, nn.Module) else []
    )
    guilty = next((part for part in found if not part.affine), None)
    if guilty is None:
        return NotAffineError(
            f"{operator.name} is not affine: additivity fails by {error:.2g} of the output",
            operator.name,
        )
    inside = "" if guilty.name else " in its own forward"
    name = guilty.name or operator.name
    return NotAffineError(
        f"not affine: {name} ({guilty.kind}){inside} is nonlinear, additivity fails by {guilty.error:.2g} of its output",
        name,
    )


def parts(
    model: nn.Module, in_shape: Sequence[int], *, first: bool = False, seed: int = 0
) -> list[Part]:
    """Which parts of a network are affine, each judged in place, in its mode, on inputs of the shapes it gets, in order of execution.

    Modules without children are judged first; where all of them are affine, the modules around them, innermost first: a nonlinear function
    in a forward is found in the module whose forward it is. With `first`, the list ends at the first part that is not affine.
    """
    network = private(model)
    assert isinstance(network, nn.Module)
    calls: dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = {}
    done: list[str] = []
    names = {module: name for name, module in network.named_modules()}

    def before(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        calls.setdefault(
            names[module],
            (
                module,
                tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments),
                dict(keywords),
            ),
        )

    def after(module: nn.Module, *_: Any) -> None:
        if names[module] not in done:
            done.append(names[module])

    hooks = [
        h
        for m in names
        for h in (
            m.register_forward_pre_hook(before, with_kwargs=True),
            m.register_forward_hook(after),
        )
    ]
    parameter = next((p for p in network.parameters() if p.is_floating_point()), None)
    x = torch.randn(2, *in_shape, generator=torch.Generator().manual_seed(seed)).to(
        device_of(network)
    )
    try:
        with torch.no_grad():
            network(x if parameter is None else x.to(parameter.dtype))
    except Exception as error:
        raise UserError(
            f"{name_of(model)} does not take {show_shape((2, *in_shape))} batches: {one_line(error)}"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    found: list[Part] = []
    composite = []
    for name in done:
        module = calls[name][0]
        if any(module.children()):
            composite.append(name)
            continue
        part = _judge(name, *calls[name], seed)
        found += [part] if part is not None else []
        if first and part is not None and not part.affine:
            return found
    bad = [part.name for part in found if not part.affine]
    for name in composite:  # an inner module ends before the one around it
        if any(b.startswith(f"{name}." if name else "") for b in bad):
            continue
        part = _judge(name, *calls[name], seed)
        if part is not None and not part.affine:
            found.append(part)
            bad.append(name)
            if first:
                return found
    return found


def _judge(
    name: str, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], seed: int
) -> Part | None:
    """One module as a function of all the tensors it was given, taken together; None for a module that was given none."""
    where = [
        i
        for i, a in enumerate(arguments)
        if isinstance(a, Tensor) and a.is_floating_point() and a.ndim >= 1
    ]
    if not where:
        return None
    shapes = [tuple(arguments[i].shape[1:]) for i in where]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    copied = private(module, torch.float64)

    def joined(flat: Tensor) -> Tensor:  # N × (all inputs) -> N × (all outputs)
        given = list(arguments)
        for i, piece, shape in zip(where, flat.split(sizes, dim=1), shapes, strict=True):
            given[i] = piece.reshape(-1, *shape)
        out = copied(*given, **keywords)
        outs = [
            o for o in (out if isinstance(out, tuple | list) else (out,)) if isinstance(o, Tensor)
        ]
        joined.out_shape = tuple(outs[0].shape[1:])  # pyright: ignore[reportFunctionMemberAccess]
        return torch.cat([o.reshape(len(flat), -1) for o in outs], dim=1)

    joined.__name__ = name or type(module).__name__
    try:
        operator = Operator(joined, (sum(sizes),), device=device_of(module), seed=seed)
    except UserError as error:
        if "another output for the same input" not in str(error):
            raise
        return Part(
            name, type(module).__name__, shapes[0], (), False, float("inf")
        )  # random, as dropout in training mode
    error = affine_error(operator, seed)
    out_shape = joined.out_shape  # pyright: ignore[reportFunctionMemberAccess]
    return Part(
        name, type(module).__name__, shapes[0], out_shape, error <= operator.tolerance, error
    )
