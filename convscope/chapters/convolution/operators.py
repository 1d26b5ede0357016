"""The operators of the theory, measured one by one and compared with what the theory says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convscope.errors import UserError, one_line
from convscope.probes import OPERATORS, Known, Probe, probe, reasons

ASKED = ("relu", "pick-top-right", "bias", "matrix")  # the operators that the assignment asks about
TRIALS = 128


@dataclass(frozen=True)
class Measured:
    """A known operator as measured; `found` is None where it could not be measured.

    `differs` names what is not as the theory says: "linearity: linear, not nonlinear".
    """

    name: str
    known: Known
    found: Probe | None
    differs: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.known.title or self.name

    @property
    def why(self) -> str:
        """The reason for what the theory says."""
        return reasons().get(self.name, "")


def measure_operators() -> list[Measured]:
    """Every known operator, those that were asked about first."""
    order = [*ASKED, *(name for name in OPERATORS if name not in ASKED)]
    return [measure_operator(name, OPERATORS[name]) for name in order]


def measure_operator(name: str, known: Known) -> Measured:
    """One known operator, probed and held against what the theory says of it."""
    try:
        found = probe(known.make(), known.shape, trials=TRIALS)
    except UserError as error:
        return Measured(name, known, None, (f"it could not be measured: {one_line(error)}",))
    moves = found.translation
    facts = (
        ("linearity", found.linearity, known.linearity),
        ("translation-equivariant", moves.equivariant, known.equivariant),
        ("period", moves.period, known.period),
        ("period where windows lie inside", moves.inside, known.inside),
        ("border", moves.border, known.border),
        ("invariant", moves.invariant, known.invariant),
        ("impulse response", found.impulse_response is not None, known.convolution),
    )
    differs = tuple(f"{what}: {plain(a)}, not {plain(b)}" for what, a, b in facts if a != b)
    return Measured(name, known, found, differs)


def plain(value: object) -> str:
    """A value in a table's cell."""
    if value is None:
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def translation_numbers(found: Probe) -> dict[str, Any]:
    """What results.json says about shifts of the input."""
    moves = found.translation
    return {
        "equivariant": moves.equivariant,
        "moves": moves.kind,
        "period": moves.period,
        "inside": moves.inside,
        "border": moves.border,
        "invariant": moves.invariant,
    }


def operator_numbers(one: Measured, files: dict[tuple[str, str], str]) -> dict[str, Any]:
    if one.found is None:
        return {"measured": False, "as_theory": False, "differs": list(one.differs)}
    found, response = one.found, one.found.impulse_response
    return {
        "measured": True,
        "linearity": found.linearity,
        **translation_numbers(found),
        "impulse_response": None if response is None else list(response.shape),
        "first": None if response is None else list(found.convolution.first),
        "reconstruction_error": found.convolution.error,
        "broken": {example.law: example.error for example in found.counterexamples},
        "files": [
            files[one.name, e.law] for e in found.counterexamples if (one.name, e.law) in files
        ],
        "as_theory": not one.differs,
        "differs": list(one.differs),
    }
