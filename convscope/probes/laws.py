"""The laws that operators keep or break, both sides of each as measured, and the smallest input on which one fails."""

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


def sides(
    operator: Operator, law: str, x: Points, y: Points, numbers: dict[str, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both sides of a law at each point, with M and X: the laws of linearity are those of f − f(0).

    additivity f(x + y) = f(x) + f(y) − f(0); homogeneity f(ax) = a f(x) + (1 − a) f(0); zero f(0) = 0 · f(x);
    equivariance f(x(i+k))(j) = f(x)(j+t), where t is the shift of the output that fits best if it is not given.
    """
    if law == "equivariance":
        return _shift_sides(operator, x, numbers)
    zero = operator(operator.zeros())
    if law == "zero":
        return (
            zero,
            torch.zeros_like(zero),
            torch.maximum(flat_max(zero), flat_max(operator(x))),
            0 * flat_max(x),
        )
    if law == "additivity":
        left, fx, fy = operator(x + y), operator(x), operator(y)
        largest = torch.stack([flat_max(v) for v in (left, fx, fy, zero.expand_as(left))]).amax(0)
        return left, fx + fy - zero, largest, torch.maximum(flat_max(x), flat_max(y))
    a = numbers["factor"]
    left, fx = operator(a * x), operator(x)
    largest = torch.stack(
        [flat_max(left), abs(a) * flat_max(fx), (1 + abs(a)) * flat_max(zero.expand_as(left))]
    ).amax(0)
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
    """Positions j for which j and j + shift (circular) are both at least `border` away from both ends."""
    j = torch.arange(size)
    moved = (j + shift) % size
    return (j >= border) & (j < size - border) & (moved >= border) & (moved < size - border)


@dataclass(frozen=True, eq=False)
class Counterexample(Shown):
    """Inputs on which a law fails: `left` and `right` are its two sides as measured, `error` their relative difference."""

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
    floor: float  # of the relative error, see trials.py

    def rows(self) -> list[tuple[str, ...]]:
        shown = [
            ("counterexample", self.statement),
            ("nonzero inputs", str(self.support)),
            ("relative error", f"{self.error:.3g}"),
        ]
        for name, tensor in (
            ("x", self.x),
            ("y", self.y),
            ("left side", self.left),
            ("right side", self.right),
        ):
            if tensor is not None:
                shown.append((name, show_values(tensor)))
        return shown

    @property
    def support(self) -> int:
        """Nonzero numbers in the inputs."""
        return int((self.x != 0).sum()) + (0 if self.y is None else int((self.y != 0).sum()))

    def replay(self, f: Callable[..., Any], *, device: str | torch.device | None = None) -> float:
        """The relative error of the law at these inputs, measured again with `f`: above the tolerance where it still fails."""
        operator = Operator(f, self.shape, device=device)
        if operator.point_shape != tuple(self.x.shape):
            raise UserError(
                f"{operator.name} takes points of {show_shape(operator.point_shape)}, saved are {show_shape(self.x.shape)}"
            )
        operator.floor = self.floor
        y = self.x if self.y is None else self.y
        left, right, largest, size = sides(operator, self.law, self.x[None], y[None], self.numbers)
        return float(operator.error(left, right, largest, size).max())

    def save(self, path: Path | str) -> None:
        """One safetensors file: the tensors, and the law in its header."""
        from safetensors.torch import save_file

        tensors = {"x": self.x, "y": self.y, "left": self.left, "right": self.right}
        header = {
            k: getattr(self, k)
            for k in ("law", "statement", "numbers", "error", "tolerance", "shape", "floor")
        }
        save_file(
            {k: v.contiguous() for k, v in tensors.items() if v is not None},
            str(path),
            {"convscope": json.dumps(header)},
        )

    @staticmethod
    def load(path: Path | str) -> Counterexample:
        from safetensors import safe_open

        try:
            with safe_open(str(path), "pt") as file:
                header = json.loads((file.metadata() or {})["convscope"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return Counterexample(
                **{"y": None, **header, **tensors, "shape": tuple(header["shape"])}
            )
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
    """The smallest counterexample that removing inputs leads to, from the point x (and y) at which a law fails.

    Chunks of inputs are set to zero as in delta debugging (Zeller & Hildebrandt 2002) while the error stays above min(0.01, half of what it
    was); then magnitudes are made simple, the factor 2 or −1.
    """
    second = x if y is None else y
    count = x.numel()

    def errors(candidates: Sequence[Tensor], with_numbers: dict[str, float]) -> list[float]:
        pairs = torch.stack([*candidates]).reshape(len(candidates), -1, *x.shape)
        left, right, largest, size = sides(operator, law, pairs[:, 0], pairs[:, -1], with_numbers)
        found = operator.error(left, right, largest, size).flatten(1).amax(1)
        return (
            found.nan_to_num(nan=0.0, posinf=0.0).tolist()
            if law != "zero"
            else found.expand(len(candidates)).tolist()
        )

    now = x.flatten() if y is None else torch.cat([x.flatten(), second.flatten()])
    least = max(min(0.01, errors([now], numbers)[0] / 2), operator.tolerance)
    chunks = 2
    for _ in range(60):
        support = now.nonzero().flatten()
        if law == "zero" or len(support) <= 1:
            break
        chunks = min(chunks, len(support))
        parts = support.tensor_split(chunks)
        candidates = [now * torch.zeros_like(now).index_fill(0, part, 1.0) for part in parts]
        candidates += [now.index_fill(0, part, 0.0) for part in parts]
        winner = next(
            (c for c, e in zip(candidates, errors(candidates, numbers), strict=True) if e > least),
            None,
        )
        if winner is not None:
            now, chunks = winner, max(2, chunks - 1)
        elif chunks >= min(len(support), 32):
            break
        else:
            chunks *= 2
    for simple in _simpler(now):
        if errors([simple], numbers)[0] > least:
            now = simple
            break
    if "factor" in numbers:
        plainer = {"factor": 2.0 if numbers["factor"] > 0 else -1.0}
        numbers = plainer if errors([now], plainer)[0] > least else numbers
    x_small = now[:count].reshape(x.shape)
    y_small = None if y is None else now[count:].reshape(x.shape)
    left, right, largest, size = sides(
        operator, law, x_small[None], (x_small if y_small is None else y_small)[None], numbers
    )
    error = float(operator.error(left, right, largest, size).max())
    if not error > operator.tolerance:
        raise UserError(
            f"{operator.name} breaks a law and then keeps it on the same input: it is random or keeps a state"
        )
    return Counterexample(
        law,
        statement,
        x_small,
        y_small,
        numbers,
        left[0],
        right[0],
        error,
        operator.tolerance,
        operator.shape,
        operator.floor,
    )


def _simpler(now: Tensor) -> Iterator[Tensor]:
    largest = float(now.abs().max())
    if largest > 0:
        yield now.sign()
        yield (now / largest * 4).round() / 4
        yield now.sign() * largest
        yield now / largest
