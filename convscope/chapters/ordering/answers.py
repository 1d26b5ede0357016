"""The chapter's short answers: the proof and the experiment, each by itself."""

from __future__ import annotations

from collections.abc import Mapping

from convscope.chapters.ordering.experiment import Experiment
from convscope.chapters.ordering.plan import EXACT, MARGIN, STEPS
from convscope.report import Headline, Sure
from convscope.statistics import Configuration
from convscope.words import texts_beside

ANSWERS = texts_beside(__file__, "answers.jinja")

PROOF = "Does the flatten order matter, by proof?"
EXPERIMENT = "Does the flatten order matter, by experiment?"


def nothing_told() -> tuple[Headline, ...]:
    """Where no two orders were trained."""
    return (
        Headline(EXPERIMENT, ANSWERS.experiment("cannot tell", 0, 0, 0, MARGIN), "cannot tell", ""),
    )


def headlines_of(
    largest: float | None, shown: Experiment, arms: Mapping[str, Configuration], chance: float
) -> tuple[Headline, ...]:
    """largest: relative difference under permuted weights; None: not checked."""
    equal = largest is not None and largest <= EXACT
    natural = arms["natural"].test_accuracy
    equivalent, different = len(shown.of("equivalent")), len(shown.of("different"))
    sure: Sure = "sure"
    if shown.word == "cannot tell":
        sure = "one seed" if natural.n == 1 else "cannot tell"
    return (
        Headline(
            PROOF,
            ANSWERS.proof(largest, equal),
            "proved" if equal else "cannot tell",
            ANSWERS.proof_rests(largest, equal, STEPS),
        ),
        Headline(
            EXPERIMENT,
            ANSWERS.experiment(shown.word, equivalent, different, len(shown.verdicts), MARGIN),
            sure,
            ANSWERS.experiment_rests(shown.word, shown.missing, natural.n, natural.mean, chance),
        ),
    )


def change_of(shown: Experiment, arms: Mapping[str, Configuration]) -> tuple[str, ...]:
    """What would change the verdict."""
    return (ANSWERS.change(shown.word, shown.missing, arms["natural"].test_accuracy.n),)
