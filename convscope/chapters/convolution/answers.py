"""The chapter's short answers: the theorem, the operators, the network under shifts."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.chapters.convolution.network import NetworkMeasures
from convscope.chapters.convolution.operators import TRIALS, Measured
from convscope.chapters.convolution.shifts import BORDERS
from convscope.chapters.convolution.theorem import Check
from convscope.chapters.convolution.words import moved_by
from convscope.recipe import short_label_of
from convscope.report import Headline
from convscope.words import texts_beside

ANSWERS = texts_beside(__file__, "answers.jinja")

THEOREM = "Is a linear, shift-equivariant operator a convolution?"
OPERATORS = "Which operators are convolutions?"
SHIFTS = "Is the network unmoved by a shift?"


def headlines_of(
    check: Check, measured: Sequence[Measured], net: NetworkMeasures
) -> tuple[Headline, ...]:
    told = [theorem_headline(check), operators_headline(measured)]
    return (*told, *shifts_headline(net))


def theorem_headline(check: Check) -> Headline:
    known = (check.kernel_error, check.reconstruction_error)
    error = max((e for e in known if e is not None), default=0.0)
    return Headline(
        THEOREM,
        ANSWERS.theorem(check.holds, error),
        "proved" if check.holds else "cannot tell",
        ANSWERS.theorem_rests(check.holds),
    )


def operators_headline(measured: Sequence[Measured]) -> Headline:
    found = [one.found for one in measured if one.found is not None]
    filters = [one for one in found if one.impulse_response is not None]
    convolutions = sum(one.translation.equivariant is True for one in filters)
    agree = sum(not one.differs for one in measured)
    return Headline(
        OPERATORS,
        ANSWERS.operators(agree, len(measured), convolutions, len(filters) - convolutions),
        "measured",
        ANSWERS.operators_rests(TRIALS),
    )


def shifts_headline(net: NetworkMeasures) -> list[Headline]:
    """What the smallest shift changes; nothing where no network was shifted."""
    moved = moved_by(net, BORDERS[0])
    if not moved or net.run is None:
        return []
    least, name = moved[0], short_label_of(net.run.recipe.model)
    stays = least.unchanged
    text = (
        ANSWERS.unmoved(least.pixels, name)
        if stays.mean == 1
        else ANSWERS.shifted(stays.mean, least.pixels, name)
    )
    rests = ANSWERS.shifted_rests(net.images, stays.low, stays.high)
    return [Headline(SHIFTS, text, "measured", rests)]


def change_of() -> tuple[str, ...]:
    """What would change the verdict."""
    return (ANSWERS.change(TRIALS),)
