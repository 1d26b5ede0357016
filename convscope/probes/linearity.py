"""Is it linear? A search for a counterexample to additivity and homogeneity, over inputs of many kinds and magnitudes.

The laws are tried on g = f − f(0), so that one pair of verdicts serves: g additive and homogeneous makes f affine, and linear where f(0) = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
ORDER = tuple(
    sorted(
        SCALES,
        key=lambda s: (
            s != 1.0,
            s != 10.0,
            s != 1e-3,
            s != 1e3,
            -abs(torch.tensor(s).log10().item()),
        ),
    )
)
NO_BIAS = 0.1  # f(0) counts as 0 below this part of the tolerance: it is exactly 0 for nearly all linear operators


@dataclass(frozen=True, eq=False)
class LinearityTest(Shown):
    """What the search found. `errors` are the largest relative errors of each law; a law holds where its error is within the tolerance."""

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
                rows.append(
                    (
                        law,
                        "holds" if self.holds(law) else f"fails: {formula}",
                        f"{self.errors[law]:.3g}",
                    )
                )
        low, high = self.scales
        rows.append(("tolerance", f"{self.tolerance:g} ({self.precision})", ""))
        rows.append(
            (
                "tried",
                f"{self.trials} trials, inputs of magnitude {low:g} to {high:g}",
                ", ".join(self.kinds),
            )
        )
        return rows


def linearity(
    operator: Operator, *, trials: int = 128, seed: int = 0, first: bool = False
) -> LinearityTest:
    """Search for counterexamples; with `first`, the search ends at the first one, and it is not made small.

    A trial draws x and y (one kind of input and one magnitude each), a positive and a negative factor, and tries all laws on them.
    Raises UserError where the callable returns NaN or infinity on ordinary inputs, or where only that stands against linearity.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = (1e-2, 1e2) if operator.precision is torch.float16 else (SCALES[0], SCALES[-1])
    magnitudes = [s for s in ORDER if low <= s <= high]
    kinds = tuple(KINDS)
    zero = operator(operator.zeros())
    operator.refuse_bad(zero, torch.zeros(1))
    zero_size = flat_max(zero)
    worst = dict.fromkeys(LAWS, 0.0)
    found: dict[str, tuple[float, Tensor, Tensor | None, dict[str, float]]] = {}
    typical, overflow, done, step = 0.0, None, 0, 16
    while done < trials:
        count = min(step, trials - done)
        turn = range(done, done + count)
        scale = [magnitudes[t % len(magnitudes)] for t in turn]
        other = [
            s if t % 2 else magnitudes[(5 * t + 3) % len(magnitudes)]
            for t, s in zip(turn, scale, strict=True)
        ]
        x = draw(operator, [kinds[t % len(kinds)] for t in turn], scale, generator)
        y = draw(
            operator,
            [kinds[(t * 3 + t // len(kinds)) % len(kinds)] for t in turn],
            other,
            generator,
        )
        factors = _factors(x, turn, magnitudes, generator)
        a = factors.reshape(2, count, *[1] * (x.ndim - 1))
        done += count

        fx, fy, sum_, up, down = operator(torch.cat([x, y, x + y, a[0] * x, a[1] * x])).split(count)
        size = torch.maximum(flat_max(x), flat_max(y))
        finite = operator.refuse_bad(
            torch.cat([fx, fy, sum_], dim=1) if fx.ndim > 1 else torch.stack([fx, fy, sum_], 1),
            size,
        )
        big = size * factors.abs().amax(0).clamp_min(1.0)
        finite &= operator.refuse_bad(torch.stack([up, down], 1), big)
        if not finite.all():
            overflow = float(size[~finite].min())
        typical = max([typical, *flat_max(fx)[finite & (size >= 0.1) & (size <= 100)].tolist()])

        trial = {"additivity": (sum_, fx + fy - zero, [sum_, fx, fy], 1.0 + 0 * size, size)}
        for name, out, factor, wide in (
            ("positive homogeneity", up, factors[0], a[0]),
            ("negative homogeneity", down, factors[1], a[1]),
        ):
            wide = wide.reshape(count, *[1] * (fx.ndim - 1))
            trial[name] = (
                out,
                wide * fx + (1 - wide) * zero,
                [out, wide * fx],
                1 + factor.abs(),
                size * factor.abs().clamp_min(1.0),
            )
        for law, (left, right, terms, zero_factor, extent) in trial.items():
            largest = torch.stack(
                [*(flat_max(term) for term in terms), zero_factor * zero_size]
            ).amax(0)
            error = torch.where(
                finite, operator.error(left, right, largest, extent).flatten(1).amax(1), 0.0
            )
            t = int(error.argmax())
            worst[law] = max(worst[law], float(error[t]))
            if error[t] > operator.tolerance and float(error[t]) > found.get(law, (0.0,))[0]:
                numbers = (
                    {}
                    if law == "additivity"
                    else {"factor": float(factors[0 if "positive" in law else 1, t])}
                )
                found[law] = (float(error[t]), x[t], y[t] if law == "additivity" else None, numbers)
        if first and found:
            break
    if overflow is not None and not found:
        raise UserError(
            f"{operator.name} returns numbers that are not finite on inputs of magnitude {overflow:.3g}: linearity can't be judged"
        )
    operator.check_repeats()
    nonlinear = bool(found)
    base = typical if typical > 0 else float(zero_size.max())
    worst["zero"] = float(zero_size.max()) / base if base > 0 else 0.0
    if worst["zero"] > NO_BIAS * operator.tolerance:
        found["zero"] = (worst["zero"], operator.zeros()[0], None, {})
    shown = {law: found[law] for law in LAWS if law in found and not (first and law != "zero")}
    return LinearityTest(
        verdict="nonlinear" if nonlinear else "affine" if "zero" in found else "linear",
        errors=worst,
        tolerance=operator.tolerance,
        precision=str(operator.precision).removeprefix("torch."),
        trials=done,
        scales=(low, high),
        kinds=kinds,
        counterexamples=tuple(
            shrink(operator, law, LAWS[law], x, y, numbers)
            for law, (_, x, y, numbers) in shown.items()
        ),
    )


def _factors(x: Tensor, turn: range, magnitudes: list[float], generator: torch.Generator) -> Tensor:
    """A positive and a negative factor for each trial that keep a·x within the magnitudes; 1 and −1 among them."""
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
