"""Flatten order: in words, from numbers."""

from __future__ import annotations

from convscope.chapters.ordering.plan import EACH, EXACT, MARGIN, PIXELS, STEPS
from convscope.planning import Context
from convscope.probes.permutation import FlattenOrder
from convscope.recipe import label_of
from convscope.statistics import Configuration, Difference
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)


def no_answer(name: str) -> str:
    """Why nothing can be said."""
    return TEXTS.no_answer(name)


def brief_of(verdict: str) -> str:
    """The verdict as a clause."""
    return TEXTS.brief(verdict)


def sentence_of(
    name: str,
    largest: float | None,
    verdicts: dict[str, str],
    arms: dict[str, Configuration],
    differences: dict[str, Difference],
) -> str:
    """The verdict in sentences.

    Args:
        name: of the data, on one line.
        largest: relative difference of losses or weights under a fixed order; None where that
            was not computed.
        verdicts: for each fixed order whether it is equivalent to the natural one.
        arms: by kind, the natural order among them.
        differences: of test accuracy from the natural order, by kind.
    """
    clauses = []
    if largest is not None:
        clauses.append(TEXTS.exact(largest <= EXACT, largest, STEPS))
    if verdicts:
        equivalent, different, unknown = (
            [kind for kind, found in verdicts.items() if found == word]
            for word in ("equivalent", "different", "cannot tell")
        )
        seeds = arms["natural"].test_accuracy.n
        clauses.append(
            TEXTS.from_scratch(len(verdicts), len(equivalent), different, unknown, MARGIN, seeds)
        )
    if EACH in differences:
        clauses.append(TEXTS.shuffled(differences[EACH]))
    if PIXELS in differences:
        clauses.append(TEXTS.pixels(differences[PIXELS]))
    single = [kind for kind, difference in differences.items() if not difference.degrees]
    if len(single) == len(differences):
        clauses.append(TEXTS.one_seed())
    elif single:
        clauses.append(TEXTS.one_seed_of(["natural", *single]))
    return TEXTS.sentence(name, clauses)


def paragraphs_of(
    context: Context,
    arms: dict[str, Configuration],
    differences: dict[str, Difference],
    exact: dict[str, FlattenOrder],
) -> list[str]:
    """How this was found: theory, training, and what the arms that can differ show."""
    natural = arms["natural"]
    seeds = [arm.test_accuracy.n for arm in arms.values()]
    images = len(context.data.train)
    out = [
        TEXTS.theory(next((found.features for found in exact.values()), 0)),
        TEXTS.training(
            label_of(natural.model), natural.runs[0].recipe, images, min(seeds), max(seeds)
        ),
    ]
    if EACH in arms:
        out.append(TEXTS.control(arms[EACH].test_accuracy, 1 / context.data.num_classes))
    if PIXELS in differences:
        out.append(TEXTS.contrast(differences[PIXELS]))
    return out
