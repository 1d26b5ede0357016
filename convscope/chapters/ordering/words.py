"""Flatten order: in words, from numbers."""

from __future__ import annotations

from convscope.chapters.ordering.experiment import Experiment
from convscope.chapters.ordering.plan import EACH, EXACT, MARGIN, PIXELS, STEPS
from convscope.planning import Context
from convscope.probes.permutation import FlattenOrder
from convscope.recipe import label_of
from convscope.statistics import Configuration, Difference
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)

PROOF_STEPS = ("setting", "function", "steps", "start", "ends")


def no_answer(name: str) -> str:
    """Why nothing can be said."""
    return TEXTS.no_answer(name)


def proof_of() -> list[str]:
    """The steps of the proof (docs/theory.md, section 2)."""
    return [getattr(TEXTS, f"proof_{step}")() for step in PROOF_STEPS]


def brief_of(verdict: str) -> str:
    """The verdict as a clause."""
    return TEXTS.brief(verdict)


def sentence_of(
    name: str,
    largest: float | None,
    shown: Experiment,
    arms: dict[str, Configuration],
    differences: dict[str, Difference],
    chance: float,
) -> str:
    """The verdict in sentences: what is proved, what the experiment shows, and what it lacks.

    name: of the data, on one line.
    largest: relative difference of losses or weights under a fixed order; None where that
        was not computed.
    shown: what the networks that were trained from scratch show.
    arms: by kind, the natural order among them.
    differences: of test accuracy from the natural order, by kind.
    chance: the test accuracy of always naming the most frequent class.
    """
    clauses = [
        TEXTS.not_checked() if largest is None else TEXTS.exact(largest <= EXACT, largest, STEPS)
    ]
    natural = arms["natural"].test_accuracy
    if shown.verdicts:
        equivalent, different, unknown = (
            shown.of(word) for word in ("equivalent", "different", "cannot tell")
        )
        of = len(shown.verdicts)
        clauses.append(
            TEXTS.from_scratch(of, len(equivalent), different, unknown, MARGIN, natural.n)
        )
        if shown.small:
            clauses.append(TEXTS.small({kind: differences[kind] for kind in shown.small}))
    if EACH in differences:
        clauses.append(TEXTS.shuffled(differences[EACH]))
    if PIXELS in differences:
        clauses.append(TEXTS.pixels(differences[PIXELS]))
    clauses.append(TEXTS.experiment(shown.word, shown.missing, natural, chance))
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
    chance: float,
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
        out.append(TEXTS.control(arms[EACH].test_accuracy, chance, differences[EACH]))
    if PIXELS in differences:
        out.append(TEXTS.contrast(differences[PIXELS]))
    return out
