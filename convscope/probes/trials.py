"""What all probes stand on: a callable called in a controlled way, and inputs that provoke it.

A callable takes N × C × L or N × C × H × W batches. A *point* is what a law speaks about: one
sample, or a batch of SAMPLES samples where a callable mixes the samples of a batch (batch
normalisation in training mode).

Errors are relative: |left − right| / (M + floor · X), where M is the largest magnitude in the
equation, X the largest input, and floor is measured: what rounding alone does to the output.
"""

from __future__ import annotations

import abc
import dataclasses
import html
import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.models import RAISED, copied, fault, first_call, has_lazy_weights, inner, seeded

# relative tolerance of a law for each precision that a callable works in: 10³ to 10⁶ roundings
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 5e-2,
    torch.bfloat16: 5e-2,
}
SCALES = tuple(10.0**e for e in range(-6, 7))
SAMPLES = 4  # in a point of a callable that mixes samples
MAX_BATCH = 256  # points in one call
# input elements in one call: networks in float64 are fastest where it stays in the cache
MAX_ELEMENTS = 1 << 16
MOST_NUMBERS = 1 << 26  # in one sample
SAMPLE = "one sample's, channels first, as (3, 32, 32)"
MAP = "one sample's, channels first: (channels, length) or (channels, height, width)"

Points = Tensor  # points × (samples) × channels × space, float64 on the CPU


def show_shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "()"


def name_of(f: object) -> str:
    f = inner(f) if isinstance(f, nn.Module) else f
    name = (
        type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
    )
    return one_line(name, 60)


def check_shape(shape: Sequence[int], least: int, what: str) -> tuple[int, ...]:
    """A sample's shape as a tuple of positive whole numbers.

    least: of axes; what: the expected shape in words, for the UserError that is raised otherwise.
    """
    fine = isinstance(shape, Sequence) and not isinstance(shape, str) and len(shape) >= least
    whole = fine and all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in shape)
    if not whole:
        raise UserError(f"shape {one_line(repr(shape))}: {what}")
    count = math.prod(shape)
    if count > MOST_NUMBERS:
        raise UserError(
            f"shape {show_shape(shape)}: {count:,} numbers in a sample; at most {MOST_NUMBERS:,}"
        )
    return tuple(shape)


def inputs_for(
    in_shape: tuple[int, ...], inputs: Tensor | None, samples: int, generator: torch.Generator
) -> Tensor:
    """A user's inputs, checked, or as many normally distributed ones: samples × in_shape."""
    if inputs is None:
        return torch.randn(samples, *in_shape, generator=generator, dtype=torch.float64)
    if tuple(inputs.shape[1:]) != in_shape or len(inputs) == 0:
        raise UserError(f"inputs of {show_shape(inputs.shape)}: samples are {show_shape(in_shape)}")
    return inputs


def private(
    f: Callable[..., Any],
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    shape: Sequence[int] = (),
) -> Callable[..., Any]:
    """A module (or a module's method) as a copy, so that the user's own stays as it is.

    What torch.compile returned is taken as what it was made of. Lazy layers that were never called
    get weights, alike each time, where `shape` says what a sample looks like.
    """
    if not isinstance(f, nn.Module):  # a function that torch.compile returned
        f = getattr(f, "_torchdynamo_orig_callable", f)
    module = f if isinstance(f, nn.Module) else getattr(f, "__self__", None)
    if not isinstance(module, nn.Module):
        return f
    try:
        own = copied(module)
        if shape and has_lazy_weights(own):
            with seeded(0):
                first_call(own, shape, name_of(own))
        with torch.no_grad():
            own = own.to(device)
            if dtype is torch.float64:
                own = own.double()  # floating-point parameters and buffers only
    except UserError:
        raise
    except Exception as error:
        to = f" to {device}" if device else ""
        raise UserError(f"{name_of(module)} cannot be copied{to}: {one_line(error)}") from None
    if dtype is torch.float64:
        for value in (*own.parameters(), *own.buffers()):
            if value.is_complex():
                value.data = value.data.to(torch.complex128)
    if isinstance(f, nn.Module):
        return own
    return types.MethodType(getattr(f, "__func__"), own)  # noqa: B009 (typed as a plain callable)


def device_of(f: object) -> torch.device:
    """Where a module's (or method's module's) tensors are; the CPU without any."""
    module = f if isinstance(f, nn.Module) else getattr(f, "__self__", None)
    if not isinstance(module, nn.Module):
        return torch.device("cpu")
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


class Operator:
    """A user's callable, made safe to measure.

    f: copied, and put into float64 where it allows.
    shape: one sample's, channels first.
    device: where it is called; without it, where its weights are, else the CPU.
    seed: of the inputs by which precision, rounding and mixing of samples are found out.

    It is called on inputs of its own, and its outputs are checked. Raises UserError for a callable
    that does not take the shape, is random, returns NaN, anything but one tensor, or outputs of
    changing shape.
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
        self.shape = check_shape(shape, 1, SAMPLE)
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
            self.f = private(f, torch.float64, self.device, self.shape)
            first = self._call(x)
        except UserError as refusal:
            if "changes the shape" in str(refusal):
                raise
            self.f, self.dtype, self.out_shape = (
                private(f, None, self.device, self.shape),
                torch.float32,
                None,
            )
            first = self._call(x)
        self._probe_input, self._first = x, first
        self.out_shape = tuple(first.shape[1:])
        if not first.isfinite().all():
            bad = _bad_value(first)
            raise UserError(f"{self.name} returns {bad} on ordinary (normally distributed) inputs")
        self.precision = self._precision(x)
        self.tolerance = TOLERANCES[self.precision]
        self.check_repeats()
        self.coupled = self._mixes_samples(x)
        self.point_shape = (SAMPLES, *self.shape) if self.coupled else self.shape
        # rounding adds up; less so where the tolerance is a few roundings
        many = min(100.0, 0.1 * self.tolerance / torch.finfo(self.precision).eps)
        self.floor = many * self._noise(generator) / self.tolerance

    def _call(self, x: Tensor) -> Tensor:
        """One call on a batch: float64 on the CPU, complex parts as channels."""
        try:
            given = x.to(self.device, self.dtype, copy=True)  # f may write into its input
        except Exception as error:
            raise UserError(
                f"device {self.device}: cannot be used here: {one_line(error)}"
            ) from None
        try:
            with torch.no_grad():
                out = self.f(given)
        except RAISED as error:
            raise UserError(
                f"{self.name} does not take {show_shape(x.shape)} batches on {self.device.type}: "
                f"{fault(error)}"
            ) from None
        out = self._checked(out, x)
        self.out_dtype = out.dtype
        if out.is_complex():
            two = [out.real, out.imag]
            out = torch.cat(two, dim=1) if out.ndim > 1 else torch.stack(two, dim=1)
        out = out.detach().to("cpu", torch.float64, copy=True)
        out = out if out.ndim > 1 else out.unsqueeze(1)  # a number for each sample
        if self.out_shape is not None and tuple(out.shape[1:]) != self.out_shape:
            before, now = show_shape(self.out_shape), show_shape(out.shape[1:])
            raise UserError(f"{self.name} changes the shape of its output: {before}, then {now}")
        return out

    def _checked(self, out: Any, x: Tensor) -> Tensor:
        if not isinstance(out, Tensor):
            raise UserError(
                f"{self.name} returns a {type(out).__name__}; wrap it so that it returns one tensor"
            )
        batch = out.ndim >= 1 and out.shape[0] == x.shape[0] and out.numel() > 0
        if not batch or out.is_meta or out.layout is not torch.strided:
            raise UserError(
                f"{self.name} returns {show_shape(out.shape)} for {show_shape(x.shape)}: "
                "a batch in gives as large a batch of numbers out"
            )
        return out

    def __call__(self, points: Points) -> Tensor:
        """points × (samples) × channels × space -> points × (samples) × output.

        In as many calls as memory asks for.
        """
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
                f"{self.name} gives another output for the same input (it differs by {change:.3g}):"
                " it is random or keeps a state; call .eval() or fix its random numbers"
            )

    def error(self, left: Tensor, right: Tensor, largest: Tensor, size: Tensor) -> Tensor:
        """Relative error of each point's elements.

        left, right: points × output; largest, size: M and X, one number per point.
        """
        scale = (largest + self.floor * size).clamp_min(torch.finfo(torch.float64).tiny)
        return (left - right).abs() / scale.reshape(-1, *[1] * (left.ndim - 1))

    def _precision(self, x: Tensor) -> torch.dtype:
        """The precision that shows in outputs, and beyond which inputs make no difference."""
        if self.out_dtype in TOLERANCES and self.out_dtype is not torch.float64:
            return self.out_dtype
        scales = torch.tensor([1.0, 30.0, 1e3, 1e-2], dtype=x.dtype)
        x = x * scales.reshape(-1, *[1] * len(self.shape))
        out = self._call(x)
        for dtype in (torch.bfloat16, torch.float16):
            same = torch.equal(out.to(dtype).double(), out)
            if same and torch.equal(self._call(x.to(dtype).double()), out):
                return dtype
        if self.dtype is torch.float32 or torch.equal(self._call(x.float().double()), out):
            return torch.float32
        return torch.float64

    def _mixes_samples(self, x: Tensor) -> bool:
        scales = torch.tensor([1.0, 1.0, 1e3, 1e-3], dtype=x.dtype)
        x = x * scales.reshape(-1, *[1] * len(self.shape))
        whole, halves = self._call(x), torch.cat([self._call(x[:2]), self._call(x[2:])])
        bound = self.tolerance * (flat_max(whole) + 1e-4 * flat_max(x))
        differs = flat_max(whole.nan_to_num() - halves.nan_to_num()) > bound
        return bool(differs.any())

    def _noise(self, generator: torch.Generator) -> float:
        """Change of the output when inputs change by a few roundings, at most the tolerance.

        In units of the input's size.
        """
        worst, eps = 0.0, 4 * torch.finfo(self.precision).eps
        for scale in (1e-6, 1.0, 1e6):
            x = scale * torch.randn(2, *self.point_shape, generator=generator, dtype=torch.float64)
            nudge = 2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1
            change = flat_max(self(x) - self(x * (1 + eps * nudge))) / flat_max(x)
            worst = max(worst, float(change.nan_to_num(nan=0.0, posinf=0.0).max()))
        return min(worst, self.tolerance)

    def refuse_bad(self, out: Tensor, size: Tensor) -> Tensor:
        """Which points gave finite numbers.

        out: points × output; size: each point's largest input. Raises UserError where inputs of
        magnitude 1 or less already give others.
        """
        finite = out.reshape(len(out), -1).isfinite().all(1)
        if bool((~finite & (size <= 1.0)).any()):
            worst = (~finite & (size <= 1.0)).nonzero()[0]
            bad, magnitude = _bad_value(out[worst]), float(size[worst])
            raise UserError(f"{self.name} returns {bad} on an input of magnitude {magnitude:.3g}")
        return finite


def _bad_value(out: Tensor) -> str:
    return "NaN" if bool(out.isnan().any()) else "infinity"


def flat_max(x: Tensor) -> Tensor:
    """Largest magnitude of each point."""
    return x.abs().reshape(len(x), -1).amax(1)


# Inputs of unit scale. A ReLU looks linear on positive inputs, a saturating function near 0, a
# median on constants: so each kind is tried at each scale.
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
    """A result that prints as a table, turns into JSON values, and shows itself in a notebook."""

    @abc.abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """The table, its header first."""

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        padded = [[c.ljust(width) for c, width in zip(row, widths, strict=True)] for row in rows]
        return "\n".join("  ".join(row).rstrip() for row in padded)

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(cell) for cell in row] for row in self.rows()]
        heads = "".join(f"<th>{cell}</th>" for cell in head)
        lines = [heads, *("".join(f"<td>{cell}</td>" for cell in row) for row in body)]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def to_json(self) -> dict[str, Any]:
        """The result's fields as JSON values."""
        tree = plain(self)
        assert isinstance(tree, dict)
        return tree


def plain(value: Any) -> Any:
    """JSON values: tensors as nested lists, numbers that are not finite as None.

    Of tensors with more than 65,536 numbers the shape alone is kept.
    """
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
