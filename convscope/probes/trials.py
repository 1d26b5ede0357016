"""What all probes stand on: a callable called in a controlled way, inputs that provoke it, results that print themselves.

A callable takes N×C×L or N×C×H×W batches. A *point* is what a law speaks about: one sample, or, where a callable mixes the samples of a batch
(batch normalisation in training mode), a batch of SAMPLES samples. Errors are relative: |left − right| / (M + floor · X), where M is the
largest magnitude in the equation, X the largest input, and floor is measured: what rounding alone does to the output.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import html
import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line

# relative tolerance of a law for each precision that a callable was found to work in: 10³ to 10⁶ roundings
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 5e-2,
    torch.bfloat16: 5e-2,
}
SCALES = tuple(10.0**e for e in range(-6, 7))
SAMPLES = 4  # in a point of a callable that mixes samples
MAX_BATCH = 256  # points in one call
MAX_ELEMENTS = (
    1 << 16
)  # input elements in one call: networks in float64 are fastest where it stays in the cache

Points = Tensor  # points × (samples) × channels × space, float64 on the CPU


def show_shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "()"


def name_of(f: object) -> str:
    name = (
        type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
    )
    return one_line(name, 60)


def check_shape(shape: Sequence[int], least: int, what: str) -> tuple[int, ...]:
    """A sample's shape as a tuple of positive whole numbers, or UserError."""
    fine = isinstance(shape, Sequence) and not isinstance(shape, str) and len(shape) >= least
    if not fine or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in shape
    ):
        raise UserError(f"shape {one_line(repr(shape))}: {what}")
    if math.prod(shape) > 1 << 26:
        raise UserError(
            f"shape {show_shape(shape)}: {math.prod(shape):,} numbers in a sample; at most {1 << 26:,}"
        )
    return tuple(shape)


def private(
    f: Callable[..., Any], dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Callable[..., Any]:
    """A module (or a module's method) as a copy of its own, so that modes, buffers and weights of the user's stay as they are."""
    module = f if isinstance(f, nn.Module) else getattr(f, "__self__", None)
    if not isinstance(module, nn.Module):
        return f
    try:
        own = copy.deepcopy(module).to(device)
    except Exception as error:
        raise UserError(
            f"{name_of(module)} can't be copied{f' to {device}' if device else ''}: {one_line(error)}"
        ) from None
    if dtype is torch.float64:
        own = own.double()  # floating-point parameters and buffers only
    return own if isinstance(f, nn.Module) else types.MethodType(getattr(f, "__func__"), own)  # noqa: B009 (typed as a plain callable)


def device_of(f: object) -> torch.device:
    module = f if isinstance(f, nn.Module) else getattr(f, "__self__", None)
    if not isinstance(module, nn.Module):
        return torch.device("cpu")
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


class Operator:
    """A user's callable, made safe to measure: copied, in float64 where it allows, called on inputs of its own, its outputs checked.

    Raises UserError, one line, for a callable that does not take the shape, is random, returns NaN, anything but one tensor, or outputs of changing shape.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        shape: Sequence[int],
        *,
        device: str | torch.device | None = None,
        seed: int = 0,
    ) -> None:
        if not callable(f):
            raise UserError(f"{one_line(repr(f), 60)}: not a callable on tensors")
        self.name = name_of(f)
        self.shape = check_shape(shape, 1, "one sample's, channels first, as (3, 32, 32)")
        try:
            self.device = torch.device(device) if device is not None else device_of(f)
        except RuntimeError:
            raise UserError(f"device {one_line(repr(device))}: no such device") from None
        if self.device.type == "meta":
            raise UserError(f"{self.name} is on the meta device: it has no values to measure")
        self.out_shape: tuple[int, ...] | None = None
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(SAMPLES, *self.shape, generator=generator, dtype=torch.float64)
        self.f, self.dtype = f, torch.float64
        try:
            self.f = private(f, torch.float64, self.device)
            first = self._call(x)
        except UserError as refusal:
            if "changes the shape" in str(refusal):
                raise
            self.f, self.dtype, self.out_shape = private(f, None, self.device), torch.float32, None
            first = self._call(x)
        self._probe_input, self._first = x, first
        self.out_shape = tuple(first.shape[1:])
        if not first.isfinite().all():
            raise UserError(
                f"{self.name} returns {_bad_value(first)} on ordinary (normally distributed) inputs"
            )
        self.precision = self._precision(x)
        self.tolerance = TOLERANCES[self.precision]
        self.check_repeats()
        self.coupled = self._mixes_samples(x)
        self.point_shape = (SAMPLES, *self.shape) if self.coupled else self.shape
        many = min(
            100.0, 0.1 * self.tolerance / torch.finfo(self.precision).eps
        )  # rounding adds up; less so where the tolerance is a few roundings
        self.floor = many * self._noise(generator) / self.tolerance

    def _call(self, x: Tensor) -> Tensor:
        """One call on a batch, on a fresh tensor (a callable may write into its input): float64 on the CPU, complex parts as channels."""
        try:
            given = x.to(self.device, self.dtype, copy=True)
        except Exception as error:
            raise UserError(
                f"device {self.device}: can't be used here: {one_line(error)}"
            ) from None
        try:
            with torch.no_grad():
                out = self.f(given)
        except Exception as error:
            raise UserError(
                f"{self.name} does not take {show_shape(x.shape)} batches on {self.device.type}: {type(error).__name__}: {one_line(error)}"
            ) from None
        if not isinstance(out, Tensor):
            raise UserError(
                f"{self.name} returns a {type(out).__name__}; wrap it so that it returns one tensor"
            )
        if (
            out.ndim < 1
            or out.shape[0] != x.shape[0]
            or out.numel() == 0
            or out.is_meta
            or out.layout is not torch.strided
        ):
            raise UserError(
                f"{self.name} returns {show_shape(out.shape)} for {show_shape(x.shape)}: a batch in gives as large a batch of numbers out"
            )
        self.out_dtype = out.dtype
        if out.is_complex():
            out = (
                torch.cat([out.real, out.imag], dim=1)
                if out.ndim > 1
                else torch.stack([out.real, out.imag], dim=1)
            )
        out = out.detach().to("cpu", torch.float64, copy=True)
        if self.out_shape is not None and tuple(out.shape[1:]) != self.out_shape:
            raise UserError(
                f"{self.name} changes the shape of its output: {show_shape(self.out_shape)}, then {show_shape(out.shape[1:])}"
            )
        return out

    def __call__(self, points: Points) -> Tensor:
        """points × (samples) × channels × space -> points × (samples) × output, in calls that fit into memory."""
        if self.coupled:
            return torch.stack([self._call(point) for point in points])
        size = max(1, min(MAX_BATCH, MAX_ELEMENTS // math.prod(self.shape)))
        return torch.cat([self._call(part) for part in points.split(size)])

    def zeros(self, count: int = 1) -> Points:
        return torch.zeros(count, *self.point_shape, dtype=torch.float64)

    def check_repeats(self) -> None:
        """UserError for a callable that gives something else for the same input."""
        again = self._call(self._probe_input)
        change = float((again - self._first).abs().max())
        if not change <= self.tolerance * float(self._first.abs().max()):
            raise UserError(
                f"{self.name} gives another output for the same input (it differs by {change:.3g}): it is random or keeps a state; "
                "call .eval() or fix its random numbers"
            )

    def error(self, left: Tensor, right: Tensor, largest: Tensor, size: Tensor) -> Tensor:
        """Relative error of each point's elements; `largest` is M and `size` is X, one number a point."""
        scale = (largest + self.floor * size).clamp_min(torch.finfo(torch.float64).tiny)
        return (left - right).abs() / scale.reshape(-1, *[1] * (left.ndim - 1))

    def _precision(self, x: Tensor) -> torch.dtype:
        """The precision that shows: the output's, and that of inputs beyond which the callable does not look."""
        if self.out_dtype in TOLERANCES and self.out_dtype is not torch.float64:
            return self.out_dtype
        x = x * torch.tensor([1.0, 30.0, 1e3, 1e-2], dtype=x.dtype).reshape(
            -1, *[1] * len(self.shape)
        )
        out = self._call(x)
        for dtype in (torch.bfloat16, torch.float16):
            if torch.equal(out.to(dtype).double(), out) and torch.equal(
                self._call(x.to(dtype).double()), out
            ):
                return dtype
        return (
            torch.float32
            if self.dtype is torch.float32 or torch.equal(self._call(x.float().double()), out)
            else torch.float64
        )

    def _mixes_samples(self, x: Tensor) -> bool:
        x = x * torch.tensor([1.0, 1.0, 1e3, 1e-3], dtype=x.dtype).reshape(
            -1, *[1] * len(self.shape)
        )
        whole, halves = self._call(x), torch.cat([self._call(x[:2]), self._call(x[2:])])
        bound = self.tolerance * (flat_max(whole) + 1e-4 * flat_max(x))
        differs = flat_max(whole.nan_to_num() - halves.nan_to_num()) > bound
        return bool(differs.any())

    def _noise(self, generator: torch.Generator) -> float:
        """Change of the output, in units of the input's size, when inputs change by a few roundings; at most the tolerance."""
        worst, eps = 0.0, 4 * torch.finfo(self.precision).eps
        for scale in (1e-6, 1.0, 1e6):
            x = scale * torch.randn(2, *self.point_shape, generator=generator, dtype=torch.float64)
            nudged = x * (
                1 + eps * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1)
            )
            change = (flat_max(self(x) - self(nudged)) / flat_max(x)).nan_to_num(
                nan=0.0, posinf=0.0
            )
            worst = max(worst, float(change.max()))
        return min(worst, self.tolerance)

    def refuse_bad(self, out: Tensor, size: Tensor) -> Tensor:
        """Which points gave finite numbers; UserError where small inputs already don't. `size` is each point's largest input."""
        finite = out.flatten(1).isfinite().all(1)
        if bool((~finite & (size <= 1.0)).any()):
            worst = (~finite & (size <= 1.0)).nonzero()[0]
            raise UserError(
                f"{self.name} returns {_bad_value(out[worst])} on an input of magnitude {float(size[worst]):.3g}"
            )
        return finite


def _bad_value(out: Tensor) -> str:
    return "NaN" if bool(out.isnan().any()) else "infinity"


def flat_max(x: Tensor) -> Tensor:
    """Largest magnitude of each point."""
    return x.abs().flatten(1).amax(1)


# Inputs of unit scale. A ReLU looks linear on positive inputs, a saturating function near 0, a median on constants: so each kind, at each scale.
KINDS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "gaussian": lambda g, _: g,
    "wide": lambda g, r: (
        g.sign() * 10 ** (6 * torch.rand(g.shape, generator=r, dtype=g.dtype) - 3)
    ),  # six decades in one input
    "positive": lambda g, _: g.abs(),
    "sparse": lambda g, r: (
        g * (torch.rand(g.shape, generator=r, dtype=g.dtype) < max(1.5 / g.numel(), 0.02))
    ),
    "negative": lambda g, _: -g.abs(),
    "offset": lambda g, _: g.flatten()[0].sign() + 0.1 * g,
    "steps": lambda g, _: (2 * g).round(),
    "constant": lambda g, _: g.flatten()[0].expand_as(g),
}


def draw(
    operator: Operator, kinds: Sequence[str], scales: Sequence[float], generator: torch.Generator
) -> Points:
    """One point of each (kind, scale) pair, float64."""
    made = []
    for kind, scale in zip(kinds, scales, strict=True):
        normal = torch.randn(operator.point_shape, generator=generator, dtype=torch.float64)
        made.append(scale * KINDS[kind](normal, generator))
    return torch.stack(made)


class Shown(abc.ABC):
    """A result: prints as a table, turns into JSON values, and shows itself in a notebook."""

    @abc.abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """The table, its header first."""

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(cell) for cell in row] for row in self.rows()]
        lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
        return (
            "<table><tr>"
            + "".join(f"<th>{cell}</th>" for cell in head)
            + "</tr>"
            + "".join(lines)
            + "</table>"
        )

    def to_json(self) -> dict[str, Any]:
        tree = plain(self)
        assert isinstance(tree, dict)
        return tree


def plain(value: Any) -> Any:
    """JSON values; tensors as nested lists (over 65,536 numbers: their shape alone), numbers that are not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Tensor):
        return plain(value.tolist()) if value.numel() <= 1 << 16 else {"shape": list(value.shape)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, torch.dtype) else value
