"""The laws that operators keep or break, and the smallest input on which one fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UserError, one_line
from convscope.probes.trials import Operator, Points, Shown, flat_max, show_shape

MOST_STEPS = 60  # of making a counterexample smaller


def sides(
    operator: Operator, law: str, x: Points, y: Points, numbers: dict[str, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both sides of a law at each point, with M and X (trials.py): (left, right, M, X).

    The laws of linearity are those of f − f(0).
    additivity: f(x + y) = f(x) + f(y) − f(0).
    homogeneity: f(ax) = a f(x) + (1 − a) f(0), a being numbers["factor"].
    zero: f(0) = 0 · f(x).
    equivariance: f(x(i+k))(j) = f(x)(j+t) for k = numbers["shift"] on numbers["axis"]. t is
    numbers["output_shift"], outside numbers["border"], or the shift that fits best.
    """
    if law == "equivariance":
        return _shift_sides(operator, x, numbers)
    zero = operator(operator.zeros())
    if law == "zero":
        largest = torch.maximum(flat_max(zero), flat_max(operator(x)))
        return zero, torch.zeros_like(zero), largest, 0 * flat_max(x)
    if law == "additivity":
        left, fx, fy = operator(x + y), operator(x), operator(y)
        largest = torch.stack([flat_max(v) for v in (left, fx, fy, zero.expand_as(left))]).amax(0)
        return left, fx + fy - zero, largest, torch.maximum(flat_max(x), flat_max(y))
    a = numbers["factor"]
    left, fx = operator(a * x), operator(x)
    constant = (1 + abs(a)) * flat_max(zero.expand_as(left))
    largest = torch.stack([flat_max(left), abs(a) * flat_max(fx), constant]).amax(0)
    return left, a * fx + (1 - a) * zero, largest, max(1.0, abs(a)) * flat_max(x)


def _shift_sides(
    operator: Operator, x: Points, numbers: dict[str, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dim = int(numbers["axis"]) - (len(operator.shape) - 1)  # counted from the end
    left, base = operator(x.roll(-int(numbers["shift"]), dim)), operator(x)
    largest = torch.maximum(flat_max(left), flat_max(base))
    if "output_shift" in numbers:
        right = base.roll(-int(numbers["output_shift"]), dim)
        keep = inside(left.shape[dim], int(numbers["output_shift"]), int(numbers.get("border", 0)))
        index = [1] * left.ndim
        index[dim] = -1
        return torch.where(keep.reshape(index), left, right), right, largest, flat_max(x)
    shifted = torch.stack([base.roll(-t, dim) for t in range(left.shape[dim])])
    best = torch.stack([flat_max(left - s) for s in shifted]).argmin(0)
    return left, shifted[best, torch.arange(len(x))], largest, flat_max(x)


def inside(size: int, shift: int, border: int) -> Tensor:
    """Which positions j, and j + shift (circular), are at least `border` away from both ends."""
    j = torch.arange(size)
    moved = (j + shift) % size
    return (j >= border) & (j < size - border) & (moved >= border) & (moved < size - border)


@dataclass(frozen=True, eq=False)
class Counterexample(Shown):
    """Inputs on which a law fails, with both sides as measured; it can be saved and replayed.

    law, statement: its name (laws.sides), and what it says.
    x, y: the inputs, without a batch axis; y of additivity alone.
    numbers: the law's factor or shift.
    left, right: the two sides; error: their relative difference, above `tolerance`.
    shape: one sample's; floor: of the relative error, see trials.py.
    """

    law: str
    statement: str
    x: Tensor
    y: Tensor | None
    numbers: dict[str, float]
    left: Tensor
    right: Tensor
    error: float
    tolerance: float
    shape: tuple[int, ...]
    floor: float

    def rows(self) -> list[tuple[str, ...]]:
        shown = [
            ("counterexample", self.statement),
            ("nonzero inputs", str(self.support)),
            ("relative error", f"{self.error:.3g}"),
        ]
        inputs = [("x", self.x)] if self.y is None else [("x", self.x), ("y", self.y)]
        for name, tensor in (*inputs, ("left side", self.left), ("right side", self.right)):
            shown.append((name, show_values(tensor)))
        return shown

    @property
    def support(self) -> int:
        """Nonzero numbers in the inputs."""
        return int((self.x != 0).sum()) + (0 if self.y is None else int((self.y != 0).sum()))

    def replay(self, f: Callable[..., Any], *, device: str | torch.device | None = None) -> float:
        """The relative error of the law at these inputs, measured again with `f`.

        It is above the tolerance where the law still fails. Raises UserError where `f` takes points
        of another shape.
        """
        operator = Operator(f, self.shape, device=device)
        if operator.point_shape != tuple(self.x.shape):
            raise UserError(
                f"{operator.name} takes points of {show_shape(operator.point_shape)}, "
                f"saved are {show_shape(self.x.shape)}"
            )
        operator.floor = self.floor
        y = self.x if self.y is None else self.y
        left, right, largest, size = sides(operator, self.law, self.x[None], y[None], self.numbers)
        return float(operator.error(left, right, largest, size).max())

    def save(self, path: Path | str) -> None:
        """One safetensors file: the tensors, and the law in its header."""
        from safetensors.torch import save_file

        tensors = {"x": self.x, "y": self.y, "left": self.left, "right": self.right}
        names = ("law", "statement", "numbers", "error", "tolerance", "shape", "floor")
        header = json.dumps({name: getattr(self, name) for name in names})
        kept = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
        save_file(kept, str(path), {"convscope": header})

    @staticmethod
    def load(path: Path | str) -> Counterexample:
        """What `save` wrote; raises UserError for a file that is missing or something else."""
        from safetensors import safe_open

        try:
            with safe_open(str(path), "pt") as file:
                header = json.loads((file.metadata() or {})["convscope"])
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
            fields = {"y": None, **header, **tensors, "shape": tuple(header["shape"])}
            return Counterexample(**fields)
        except Exception as error:
            raise UserError(f"counterexample {one_line(path)}: {one_line(error)}") from None


def show_values(tensor: Tensor, limit: int = 6) -> str:
    """Nonzero numbers with their indices, the largest first."""
    where = tensor.nonzero()
    if len(where) == 0:
        return "0"
    values = tensor[tuple(where.T)]
    order = values.abs().argsort(descending=True, stable=True)[:limit]
    cells = [f"[{','.join(map(str, where[i].tolist()))}] {float(values[i]):.4g}" for i in order]
    return "  ".join(cells) + (f"  … {len(where) - limit} more" if len(where) > limit else "")


def shrink(
    operator: Operator,
    law: str,
    statement: str,
    x: Tensor,
    y: Tensor | None,
    numbers: dict[str, float],
) -> Counterexample:
    """The smallest counterexample that removing inputs leads to.

    law, numbers: as `sides` takes them; statement: the law in words or a formula.
    x, y: the point at which the law fails (y of additivity alone).

    Chunks of inputs are set to zero as in delta debugging (Zeller & Hildebrandt 2002) while the
    error stays above min(0.01, half of what it was). Then magnitudes are made simple, and the
    factor is made 2 or −1. Raises UserError where the law then holds: the callable is random.
    """
    failure = _Failure(operator, law, tuple(x.shape))
    now = x.flatten() if y is None else torch.cat([x.flatten(), y.flatten()])
    least = max(min(0.01, failure.errors([now], numbers)[0] / 2), operator.tolerance)
    if law != "zero":
        now = _fewer(failure, now, numbers, least)
    simple = (one for one in _simpler(now) if failure.errors([one], numbers)[0] > least)
    now = next(simple, now)
    if "factor" in numbers:
        plainer = {"factor": 2.0 if numbers["factor"] > 0 else -1.0}
        numbers = plainer if failure.errors([now], plainer)[0] > least else numbers
    pair = now.reshape(-1, *x.shape)  # x, and y where there is one
    left, right, largest, size = sides(operator, law, pair[:1], pair[-1:], numbers)
    error = float(operator.error(left, right, largest, size).max())
    if not error > operator.tolerance:
        raise UserError(
            f"{operator.name} breaks a law and then keeps it on the same input: "
            "it is random, keeps a state, or mixes the samples of a batch"
        )
    return Counterexample(
        law=law,
        statement=statement,
        x=pair[0],
        y=None if y is None else pair[1],
        numbers=numbers,
        left=left[0],
        right=right[0],
        error=error,
        tolerance=operator.tolerance,
        shape=operator.shape,
        floor=operator.floor,
    )


@dataclass(frozen=True)
class _Failure:
    """A law that fails: candidates are flat, x alone or x and y one after the other."""

    operator: Operator
    law: str
    shape: tuple[int, ...]  # of x

    def errors(self, candidates: Sequence[Tensor], numbers: dict[str, float]) -> list[float]:
        pairs = torch.stack([*candidates]).reshape(len(candidates), -1, *self.shape)
        both = sides(self.operator, self.law, pairs[:, 0], pairs[:, -1], numbers)
        found = self.operator.error(*both).flatten(1).amax(1)
        if self.law == "zero":  # one error, that of f(0)
            return found.expand(len(candidates)).tolist()
        return found.nan_to_num(nan=0.0, posinf=0.0).tolist()


def _fewer(failure: _Failure, now: Tensor, numbers: dict[str, float], least: float) -> Tensor:
    """As few nonzero inputs as keep the error above `least`; chunks of them are taken away."""
    chunks = 2
    for _ in range(MOST_STEPS):
        support = now.nonzero().flatten()
        if len(support) <= 1:
            break
        chunks = min(chunks, len(support))
        parts = support.tensor_split(chunks)
        candidates = [now * torch.zeros_like(now).index_fill(0, part, 1.0) for part in parts]
        candidates += [now.index_fill(0, part, 0.0) for part in parts]
        errors = failure.errors(candidates, numbers)
        still = (c for c, error in zip(candidates, errors, strict=True) if error > least)
        winner = next(still, None)
        if winner is not None:
            now, chunks = winner, max(2, chunks - 1)
        elif chunks >= min(len(support), 32):
            break
        else:
            chunks *= 2
    return now


def _simpler(now: Tensor) -> Iterator[Tensor]:
    largest = float(now.abs().max())
    if largest > 0:
        yield now.sign()
        yield (now / largest * 4).round() / 4
        yield now.sign() * largest
        yield now / largest
