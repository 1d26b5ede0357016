"""The operators of the theory, measured one by one and held against what the theory says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convscope.errors import UserError, one_line
from convscope.probes import Probe, probe
from convscope.probes.operators import OPERATORS, Known
from convscope.probes.trials import show_shape
from convscope.report import Table

ASKED = ("relu", "pick-one", "bias", "matrix")  # the operators that the assignment asks about
TRIALS = 128


@dataclass(frozen=True)
class Measured:
    """A known operator as measured; `differs` names what is not as the theory says ("linearity: linear, not nonlinear")."""

    name: str
    known: Known
    found: Probe | None
    differs: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.known.title or self.name


def measure_operators() -> list[Measured]:
    """Every known operator, those that were asked about first."""
    order = [*ASKED, *(name for name in OPERATORS if name not in ASKED)]
    return [measure_operator(name, OPERATORS[name]) for name in order]


def measure_operator(name: str, known: Known) -> Measured:
    try:
        found = probe(known.make(), known.shape, trials=TRIALS)
    except UserError as error:
        return Measured(name, known, None, (f"it could not be measured: {one_line(error)}",))
    moves = found.translation
    facts = (
        ("linearity", found.linearity, known.linearity),
        ("translation-equivariant", moves.equivariant, known.equivariant),
        ("period", moves.period, known.period),
        ("border", moves.border, known.border),
        ("invariant", moves.invariant, known.invariant),
        ("impulse response", found.impulse_response is not None, known.convolution),
    )
    return Measured(
        name,
        known,
        found,
        tuple(f"{what}: {plain(a)}, not {plain(b)}" for what, a, b in facts if a != b),
    )


def plain(value: object) -> str:
    return (
        "yes"
        if value is True
        else "no"
        if value is False
        else "none"
        if value is None
        else str(value)
    )


def operator_numbers(one: Measured, files: dict[tuple[str, str], str]) -> dict[str, Any]:
    if one.found is None:
        return {"measured": False, "as_theory": False, "differs": list(one.differs)}
    found, response = one.found, one.found.impulse_response
    return {
        "measured": True,
        "linearity": found.linearity,
        "equivariant": found.translation.equivariant,
        "period": found.translation.period,
        "border": found.translation.border,
        "invariant": found.translation.invariant,
        "impulse_response": None if response is None else list(response.shape),
        "reconstruction_error": found.convolution.error,
        "broken": {example.law: example.error for example in found.counterexamples},
        "files": [
            files[one.name, e.law] for e in found.counterexamples if (one.name, e.law) in files
        ],
        "as_theory": not one.differs,
        "differs": list(one.differs),
    }


def operators_table(measured: Sequence[Measured]) -> Table:
    columns = (
        ("operator", "operator", "text"),
        ("linearity", "linear", "text"),
        ("equivariant", "translation-equivariant", "text"),
        ("period", "period", "text"),
        ("border", "border", "text"),
        ("invariant", "invariant", "text"),
        ("response", "impulse response", "text"),
        ("law", "laws that fail: largest error", "text"),
        ("theory", "as the theory says", "text"),
    )
    rows: list[dict[str, Any]] = []
    for one in measured:
        row: dict[str, Any] = {"operator": one.title, "theory": "; ".join(one.differs) or "yes"}
        if one.found is not None:
            moves, response = one.found.translation, one.found.impulse_response
            worst = max(one.found.counterexamples, key=lambda example: example.error, default=None)
            row |= {
                "linearity": one.found.linearity,
                "equivariant": plain(moves.equivariant),
                "period": plain(moves.period),
                "border": str(moves.border),
                "invariant": plain(moves.invariant),
                "response": "no" if response is None else show_shape(response.shape),
                "law": "" if worst is None else f"{laws_of(one.found)}: {worst.error:.2g}",
            }
        rows.append(row)
    caption = (
        f"The first {len(ASKED)} are those of the assignment. Linear is an operator that is additive and homogeneous with f(0) = 0; affine: f − f(0) is. Period s: a shift of the input "
        "by a multiple of s shifts the output along; none: no such s on some axis. Border: so many positions at each end are left out of the judgement, because padding breaks the condition there. "
        "Invariant: a circular shift of the input does not change the output. Impulse responses are out × in × taps. Errors are relative to the largest number in the equation."
    )
    return Table("operators", "Operators, measured", columns, rows, caption)


def laws_of(found: Probe) -> str:
    return ", ".join(law_word(example.law) for example in found.counterexamples)


def law_word(law: str) -> str:
    return "f(0) = 0" if law == "zero" else law


def operators_sentence(measured: Sequence[Measured]) -> str:
    differing = [one for one in measured if one.differs]
    agree = f"{len(measured) - len(differing)} of {len(measured)} operators are, measured, as the theory says"
    if differing:
        agree += (
            f"; not as it says: {', '.join(f'{one.title} ({one.differs[0]})' for one in differing)}"
        )
    asked = "; ".join(
        f"{one.title}: {operator_words(one)}" for one in measured if one.name in ASKED
    )
    return f"{agree}. {asked}."


def operator_words(one: Measured) -> str:
    if one.found is None:
        return "could not be measured"
    moves = one.found.translation
    return (
        f"{one.found.linearity}, {translation_words(moves.equivariant, moves.period, moves.border)}"
    )


def translation_words(equivariant: bool, period: int | None, border: int) -> str:
    inside = f" but for a border of {border}" if border else ""
    if equivariant:
        return f"translation-equivariant{inside}"
    return f"not translation-equivariant, {'no period' if period is None else f'period {period}'}{inside}"
