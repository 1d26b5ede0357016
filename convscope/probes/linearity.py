"""Is it linear? A search for a counterexample to additivity and homogeneity.

The laws are tried on g = f − f(0), over inputs of many kinds and magnitudes, so that one pair of
verdicts serves: g additive and homogeneous makes f affine, and linear where f(0) = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from convscope.errors import UserError
from convscope.probes.laws import Counterexample, shrink
from convscope.probes.trials import KINDS, SCALES, Operator, Shown, draw, flat_max

Linearity = Literal["linear", "affine", "nonlinear"]
LAWS = {
    "additivity": "f(x + y) = f(x) + f(y) − f(0)",
    "positive homogeneity": "f(ax) = a f(x) + (1 − a) f(0), a > 0",
    "negative homogeneity": "f(ax) = a f(x) + (1 − a) f(0), a < 0",
    "zero": "f(0) = 0",
}
# Magnitudes in the order in which they are tried: the ordinary one first, then far out both ways.
FIRST = (1.0, 10.0, 1e-3, 1e3)
REST = (scale for scale in SCALES if scale not in FIRST)
ORDER = (*FIRST, *sorted(REST, key=lambda s: -abs(torch.tensor(s).log10().item())))
STEP = 16  # trials in one call of the callable
# f(0) counts as 0 below this part of the tolerance: it is exactly 0 for nearly all linear operators
NO_BIAS = 0.1


@dataclass(frozen=True, eq=False)
class LinearityTest(Shown):
    """What the search for a counterexample found.

    verdict: "linear", "affine" or "nonlinear".
    errors: the largest relative error of each law; a law holds where it is within the tolerance.
    tolerance: relative; precision: the one that the callable was found to work in.
    trials: pairs of inputs; scales: their smallest and largest magnitude; kinds: names of KINDS.
    counterexamples: one for each law that fails, made small.
    """

    verdict: Linearity
    errors: dict[str, float]
    tolerance: float
    precision: str
    trials: int
    scales: tuple[float, float]
    kinds: tuple[str, ...]
    counterexamples: tuple[Counterexample, ...]

    def holds(self, law: str) -> bool:
        """Whether no counterexample was found to one of the laws of `errors`."""
        return all(c.law != law for c in self.counterexamples)

    @property
    def additive(self) -> bool:
        return self.holds("additivity")

    @property
    def positively_homogeneous(self) -> bool:
        return self.holds("positive homogeneity")

    @property
    def negatively_homogeneous(self) -> bool:
        return self.holds("negative homogeneity")

    @property
    def zero_at_zero(self) -> bool:
        return self.holds("zero")

    def rows(self) -> list[tuple[str, ...]]:
        rows = [("linearity", self.verdict, "largest relative error")]
        for law, formula in LAWS.items():
            if law in self.errors:
                result = "holds" if self.holds(law) else f"fails: {formula}"
                rows.append((law, result, f"{self.errors[law]:.3g}"))
        low, high = self.scales
        tried = f"{self.trials} trials, inputs of magnitude {low:g} to {high:g}"
        rows.append(("tolerance", f"{self.tolerance:g} ({self.precision})", ""))
        rows.append(("tried", tried, ", ".join(self.kinds)))
        return rows


def measure_linearity(
    operator: Operator, *, trials: int = 128, seed: int = 0, first: bool = False
) -> LinearityTest:
    """Search for counterexamples to additivity and homogeneity.

    operator: the callable, made safe to measure.
    trials: each draws x and y (one kind of input and one magnitude each), a positive and a negative
        factor, and tries all laws on them.
    seed: of the inputs and factors.
    first: the search ends at the first counterexample, which is not made small.

    Raises UserError where the callable returns NaN or infinity on ordinary inputs, or where only
    that stands against linearity.
    """
    search = _Search(operator, seed)
    done = 0
    while done < trials and not (first and search.found):
        turn = range(done, min(done + STEP, trials))
        search.run(turn)
        done = turn.stop
    return search.result(done, first)


class _Equation(NamedTuple):
    """Both sides of a law at each point, and what its error is relative to (M and X, trials.py)."""

    left: Tensor
    right: Tensor
    largest: Tensor
    extent: Tensor


class _Found(NamedTuple):
    """The worst point of a law so far; `y` is None but for additivity."""

    error: float
    x: Tensor
    y: Tensor | None
    numbers: dict[str, float]


class _Search:
    """What the trials have shown so far: the worst error of each law, and the point where it is."""

    def __init__(self, operator: Operator, seed: int) -> None:
        self.operator, self.generator = operator, torch.Generator().manual_seed(seed)
        half = operator.precision is torch.float16
        self.low, self.high = (1e-2, 1e2) if half else (SCALES[0], SCALES[-1])
        self.magnitudes = [s for s in ORDER if self.low <= s <= self.high]
        self.kinds = tuple(KINDS)
        self.zero = operator(operator.zeros())
        operator.refuse_bad(self.zero, torch.zeros(1))
        self.zero_size = flat_max(self.zero)
        self.worst = dict.fromkeys(LAWS, 0.0)
        self.found: dict[str, _Found] = {}
        self.typical = 0.0  # largest output on inputs of ordinary magnitude
        self.overflow: float | None = None  # the magnitude of inputs that gave no finite numbers

    def draw(self, turn: range) -> tuple[Tensor, Tensor, Tensor]:
        """x, y, and factors (2 × trials), the positive ones first."""
        magnitudes, kinds = self.magnitudes, self.kinds
        scale = [magnitudes[t % len(magnitudes)] for t in turn]
        other = [
            s if t % 2 else magnitudes[(5 * t + 3) % len(magnitudes)]
            for t, s in zip(turn, scale, strict=True)
        ]
        second = [kinds[(t * 3 + t // len(kinds)) % len(kinds)] for t in turn]
        first = [kinds[t % len(kinds)] for t in turn]
        x = draw(self.operator, first, scale, self.generator)
        y = draw(self.operator, second, other, self.generator)
        return x, y, _factors(x, turn, magnitudes, self.generator)

    def run(self, turn: range) -> None:
        """Trials `turn`: all laws on as many pairs of inputs."""
        x, y, factors = self.draw(turn)
        count, operator = len(turn), self.operator
        a = factors.reshape(2, count, *[1] * (x.ndim - 1))
        outs = operator(torch.cat([x, y, x + y, a[0] * x, a[1] * x])).split(count)
        fx, fy, sum_, up, down = outs
        size = torch.maximum(flat_max(x), flat_max(y))
        three = [fx, fy, sum_]
        joined = torch.cat(three, dim=1) if fx.ndim > 1 else torch.stack(three, 1)
        finite = operator.refuse_bad(joined, size)
        big = size * factors.abs().amax(0).clamp_min(1.0)
        finite &= operator.refuse_bad(torch.stack([up, down], 1), big)
        if not finite.all():
            self.overflow = float(size[~finite].min())
        usual = flat_max(fx)[finite & (size >= 0.1) & (size <= 100)].tolist()
        self.typical = max([self.typical, *usual])
        laws = {"additivity": self.additivity(fx, fy, sum_, size)}
        laws["positive homogeneity"] = self.homogeneity(fx, up, factors[0], size)
        laws["negative homogeneity"] = self.homogeneity(fx, down, factors[1], size)
        for law, equation in laws.items():
            errors = operator.error(*equation).flatten(1).amax(1)
            self.keep(law, torch.where(finite, errors, 0.0), x, y, factors)

    def additivity(self, fx: Tensor, fy: Tensor, sum_: Tensor, size: Tensor) -> _Equation:
        terms = [flat_max(term) for term in (sum_, fx, fy)]
        largest = torch.stack([*terms, (1.0 + 0 * size) * self.zero_size]).amax(0)
        return _Equation(sum_, fx + fy - self.zero, largest, size)

    def homogeneity(self, fx: Tensor, out: Tensor, factor: Tensor, size: Tensor) -> _Equation:
        wide = factor.reshape(-1, *[1] * (fx.ndim - 1))
        terms = [flat_max(out), flat_max(wide * fx)]
        largest = torch.stack([*terms, (1 + factor.abs()) * self.zero_size]).amax(0)
        right = wide * fx + (1 - wide) * self.zero
        return _Equation(out, right, largest, size * factor.abs().clamp_min(1.0))

    def keep(self, law: str, errors: Tensor, x: Tensor, y: Tensor, factors: Tensor) -> None:
        """The worst point, if it is worse than what was found before."""
        t = int(errors.argmax())
        error = float(errors[t])
        self.worst[law] = max(self.worst[law], error)
        before = self.found[law].error if law in self.found else 0.0
        if not (errors[t] > self.operator.tolerance and error > before):
            return
        if law == "additivity":
            self.found[law] = _Found(error, x[t], y[t], {})
        else:
            factor = float(factors[0 if "positive" in law else 1, t])
            self.found[law] = _Found(error, x[t], None, {"factor": factor})

    def result(self, trials: int, first: bool) -> LinearityTest:
        operator = self.operator
        if self.overflow is not None and not self.found:
            raise UserError(
                f"linearity of {operator.name} cannot be judged: it returns numbers that are not "
                f"finite on inputs of magnitude {self.overflow:.3g}"
            )
        operator.check_repeats()
        nonlinear = bool(self.found)
        base = self.typical if self.typical > 0 else float(self.zero_size.max())
        self.worst["zero"] = float(self.zero_size.max()) / base if base > 0 else 0.0
        if self.worst["zero"] > NO_BIAS * operator.tolerance:
            self.found["zero"] = _Found(self.worst["zero"], operator.zeros()[0], None, {})
        shown = [law for law in LAWS if law in self.found and not (first and law != "zero")]
        examples = [(law, self.found[law]) for law in shown]
        return LinearityTest(
            verdict="nonlinear" if nonlinear else "affine" if "zero" in self.found else "linear",
            errors=self.worst,
            tolerance=operator.tolerance,
            precision=str(operator.precision).removeprefix("torch."),
            trials=trials,
            scales=(self.low, self.high),
            kinds=self.kinds,
            counterexamples=tuple(
                shrink(operator, law, LAWS[law], one.x, one.y, one.numbers) for law, one in examples
            ),
        )


def _factors(x: Tensor, turn: range, magnitudes: list[float], generator: torch.Generator) -> Tensor:
    """A positive and a negative factor for each trial that keep a·x within the magnitudes.

    −1 is among the negative ones.
    """
    sizes = flat_max(x)
    drawn = 0.5 + 1.5 * torch.rand(2, len(x), generator=generator, dtype=torch.float64)
    target = torch.tensor(
        [[magnitudes[(3 * t + 1 + 4 * k) % len(magnitudes)] for t in turn] for k in range(2)],
        dtype=torch.float64,
    )
    near = torch.tensor([t % 2 == 0 for t in turn])  # every other trial: a moderate factor
    factors = torch.where(
        near | (sizes == 0), drawn, drawn * (target / sizes.clamp_min(1e-300)).clamp(1e-12, 1e12)
    )
    factors[1] = -factors[1]
    factors[1, ::4] = -1.0
    return factors
