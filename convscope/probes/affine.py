"""A network without nonlinear parts is one affine map: W and b, or what prevents it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.models import RAISED, fault, is_leaf, modules_of
from convscope.probes.laws import sides
from convscope.probes.trials import (
    KINDS,
    SAMPLE,
    SCALES,
    Operator,
    Shown,
    check_shape,
    device_of,
    draw,
    inputs_for,
    name_of,
    private,
    show_shape,
)

TRIALS = 26  # inputs at each magnitude, twice


class NotAffineError(UserError):
    """The network is no affine map; `part` is the path of the first part that is not affine."""

    def __init__(self, message: str, part: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class Part:
    """A module as it stands in a network, judged on inputs of the shape of its first call.

    name: its path; kind: its class; in_shape, out_shape: one sample's.
    affine: whether additivity and homogeneity of f − f(0) hold; error: their largest relative one.
    """

    name: str
    kind: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    affine: bool
    error: float


@dataclass(frozen=True, eq=False)
class Collapse(Shown):
    """The affine map of a network.

    weight: outputs × inputs; bias: outputs; both in float64.
    rank: the number of singular values above the largest · max(outputs, inputs) · 2⁻⁵².
    singular_values: of `weight`, from the largest to the smallest.
    max_error: max |W x + b − f(x)| / max |f(x)| over the `checked` inputs, in float64.
    agreement: the share of them with the same largest output; None with a single output.
    in_shape: one sample's.
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
        more = " …" if len(self.singular_values) > 10 else ""
        shown = ", ".join(f"{s:.4g}" for s in self.singular_values[:10]) + more
        same = "–" if self.agreement is None else f"{self.agreement:.2%}"
        outputs, inputs = self.weight.shape
        return [
            ("affine map", f"{outputs} outputs × {inputs:,} inputs ({show_shape(self.in_shape)})"),
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
    """A network of affine parts as one matrix and bias: b = f(0), column i of W is f(eᵢ) − f(0).

    model: a module is copied, put into evaluation mode and measured in float64.
    in_shape: one sample's, channels first.
    inputs: N × in_shape, on which map and network are compared, a test set for instance; without
        them 256 normally distributed samples.
    method: "gradients" takes the rows of W instead, one backward pass per output, which is quicker
        for large networks with few outputs.
    batch: impulses or inputs in one call; seed: of the random inputs.

    Raises NotAffineError, which names the part that is not affine, and UserError for a network that
    does not take the shape or mixes samples. Proof: docs/theory.md, section 4.
    """
    in_shape = check_shape(in_shape, 1, SAMPLE)
    network = private(model, shape=in_shape)
    if isinstance(network, nn.Module):
        network.eval()
    operator = Operator(network, in_shape, seed=seed)
    if operator.coupled:
        raise UserError(
            f"{operator.name} mixes the samples of a batch: "
            "its output for a sample is no function of that sample"
        )
    error = affine_error(operator, seed)
    if error > operator.tolerance:
        raise _not_affine(network, in_shape, operator, error, seed)
    bias = operator(operator.zeros())[0].flatten()
    if method == "gradients":
        weight = _gradients(operator, len(bias))
    else:
        weight = _columns(operator, bias, batch)
    inputs = inputs_for(in_shape, inputs, 256, torch.Generator().manual_seed(seed))
    max_error, agreement = _compared(operator, weight, bias, inputs.split(batch))
    values = torch.linalg.svdvals(weight)
    eps = torch.finfo(operator.precision).eps
    return Collapse(
        weight=weight,
        bias=bias,
        rank=int((values > values.max() * max(weight.shape) * eps).sum()),
        singular_values=tuple(values.tolist()),
        max_error=max_error,
        agreement=agreement,
        checked=len(inputs),
        in_shape=in_shape,
    )


def _columns(operator: Operator, bias: Tensor, batch: int) -> Tensor:
    """W, outputs × inputs, from the unit impulses."""
    count = operator.zeros()[0].numel()
    weight = torch.empty(len(bias), count, dtype=torch.float64)
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        impulses = torch.zeros(stop - start, count, dtype=torch.float64)
        impulses[torch.arange(stop - start), torch.arange(start, stop)] = 1.0
        outs = operator(impulses.reshape(-1, *operator.shape)).flatten(1)
        weight[:, start:stop] = (outs - bias).T
    return weight


def _compared(
    operator: Operator, weight: Tensor, bias: Tensor, batches: Sequence[Tensor]
) -> tuple[float, float | None]:
    """(largest relative error, share of samples with the same largest output)."""
    largest = difference = 0.0
    same = count = 0
    for part in batches:
        part = part.to("cpu", torch.float64)
        network_says, map_says = operator(part).flatten(1), part.flatten(1) @ weight.T + bias
        largest = max(largest, float(network_says.abs().max()))
        difference = max(difference, float((network_says - map_says).abs().max()))
        same += int((network_says.argmax(1) == map_says.argmax(1)).sum())
        count += len(part)
    error = difference / largest if largest > 0 else difference
    return error, same / count if len(bias) > 1 else None


def affine_error(operator: Operator, seed: int = 0) -> float:
    """The largest relative error of g(x + y) = g(x) + g(y) and g(ax) = a g(x), g = f − f(0).

    All affine maps keep both laws, and no others do.
    """
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
        numbers = {"factor": -1.0 - start / 26}
        left, right, largest, size = sides(operator, "homogeneity", x, x, numbers)
        error = operator.error(left, right, largest, size).flatten(1).amax(1)
        worst = max(worst, float(torch.where(error.isfinite(), error, torch.inf).max()))
        if worst > operator.tolerance:
            break
    return worst


def _gradients(operator: Operator, outputs: int) -> Tensor:
    """W, outputs × inputs, from a backward pass for each output."""
    like = {"dtype": operator.dtype, "device": operator.device, "requires_grad": True}
    x = torch.zeros(outputs, *operator.shape, **like)
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
    found = []
    if isinstance(network, nn.Module):
        found = parts(network, in_shape, first=True, seed=seed)
    guilty = next((part for part in found if not part.affine), None)
    if guilty is None:
        return NotAffineError(
            f"{operator.name} is not affine: additivity fails by {error:.2g} of the output",
            operator.name,
        )
    inside = "" if guilty.name else " in its own forward"
    name = guilty.name or operator.name
    return NotAffineError(
        f"not affine: {name} ({guilty.kind}){inside} is nonlinear, "
        f"additivity fails by {guilty.error:.2g} of its output",
        name,
    )


def parts(
    model: nn.Module, in_shape: Sequence[int], *, first: bool = False, seed: int = 0
) -> list[Part]:
    """Which parts of a network are affine, each judged in place, in its mode, on its own inputs.

    model: copied; in_shape: one sample's, channels first.
    first: the list ends at the first part that is not affine; seed: of the random inputs.

    Parts come in order of execution. Layers are judged first; where all of them
    are affine, the modules around them, innermost first. So a nonlinear function in a forward is
    found in the module whose forward it is. Raises UserError where the shape is not taken.
    """
    network = private(model, shape=in_shape)
    assert isinstance(network, nn.Module)
    calls = _calls_of(network, in_shape, seed)
    found: list[Part] = []
    composite = []
    for name, call in calls.items():
        if not is_leaf(call.module):
            composite.append(name)
            continue
        part = _judge(name, call, seed)
        found += [part] if part is not None else []
        if first and part is not None and not part.affine:
            return found
    bad = [part.name for part in found if not part.affine]
    for name in composite:  # an inner module ends before the one around it
        if any(b.startswith(f"{name}." if name else "") for b in bad):
            continue
        part = _judge(name, calls[name], seed)
        if part is not None and not part.affine:
            found.append(part)
            bad.append(name)
            if first:
                return found
    return found


class _Call(NamedTuple):
    """A module with the arguments of its first call, as they were before it."""

    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


def _calls_of(network: nn.Module, in_shape: Sequence[int], seed: int) -> dict[str, _Call]:
    """First calls by the module's path, in the order in which they end; one pass of two samples."""
    begun: dict[str, _Call] = {}
    done: dict[str, _Call] = {}
    names = {module: name for name, module in modules_of(network)}

    def before(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        own = tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments)
        begun.setdefault(names[module], _Call(module, own, dict(keywords)))

    def after(module: nn.Module, *_: Any) -> None:
        done.setdefault(names[module], begun[names[module]])

    hooks = [module.register_forward_pre_hook(before, with_kwargs=True) for module in names]
    hooks += [module.register_forward_hook(after) for module in names]
    parameter = next((p for p in network.parameters() if p.is_floating_point()), None)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *in_shape, generator=generator).to(device_of(network))
    try:
        with torch.no_grad():
            network(x if parameter is None else x.to(parameter.dtype))
    except RAISED as error:
        shape = show_shape((2, *in_shape))
        raise UserError(
            f"{name_of(network)} does not take {shape} batches: {fault(error)}"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    return done


def _judge(name: str, call: _Call, seed: int) -> Part | None:
    """One module as a function of all the tensors it was given together; None without any."""
    where = [
        i
        for i, a in enumerate(call.arguments)
        if isinstance(a, Tensor) and a.is_floating_point() and a.ndim >= 1
    ]
    if not where:
        return None
    try:
        return _judged(name, call, where, torch.float64, seed)
    except UserError:  # a forward may ask for float32
        return _judged(name, call, where, None, seed)


def _judged(
    name: str, call: _Call, where: Sequence[int], dtype: torch.dtype | None, seed: int
) -> Part:
    """The verdict on a module in `dtype`, or its own; `where`: which arguments are tensors."""
    module, arguments, keywords = call
    shapes = [tuple(arguments[i].shape[1:]) for i in where]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    copied = private(module, dtype)
    out_shape: tuple[int, ...] = ()

    def joined(flat: Tensor) -> Tensor:  # N × (all inputs) -> N × (all outputs)
        given = list(arguments)
        for i, piece, shape in zip(where, flat.split(sizes, dim=1), shapes, strict=True):
            own = arguments[i].dtype if dtype is None else flat.dtype
            given[i] = piece.reshape(-1, *shape).to(own)
        out = copied(*given, **keywords)
        given_back = out if isinstance(out, tuple | list) else (out,)
        outs = [o for o in given_back if isinstance(o, Tensor)]
        nonlocal out_shape
        out_shape = tuple(outs[0].shape[1:])
        return torch.cat([o.reshape(len(flat), -1) for o in outs], dim=1)

    joined.__name__ = name or type(module).__name__
    try:
        operator = Operator(joined, (sum(sizes),), device=device_of(module), seed=seed)
    except UserError as error:
        if "another output for the same input" not in str(error):
            raise
        # random, as dropout in training mode
        return Part(name, type(module).__name__, shapes[0], (), False, float("inf"))
    error = affine_error(operator, seed)
    affine = error <= operator.tolerance
    return Part(name, type(module).__name__, shapes[0], out_shape, affine, error)
