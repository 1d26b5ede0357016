"""The chapter's short answers and the network to take."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.chapters.best.choice import MARGIN
from convscope.chapters.best.outcome import Outcome
from convscope.recipe import short_label_of
from convscope.report import Headline, Recommended, Sure, sure_of
from convscope.statistics import Configuration
from convscope.words import texts_beside

ANSWERS = texts_beside(__file__, "answers.jinja")

BEST, SMALLEST = "Which network is best?", "Is a smaller one as good?"


def nothing_told(runs: int) -> tuple[Headline, ...]:
    """Where no run to the end has finished."""
    return (Headline(BEST, ANSWERS.nothing(runs), "cannot tell", ""),)


def headlines_of(outcome: Outcome) -> tuple[Headline, ...]:
    """The best network with its accuracy, and whether a smaller one is as good."""
    found = len(outcome.selection.found)
    told = [best_headline(outcome)]
    return (*told, smallest_headline(outcome)) if found > 1 and outcome.learnt else tuple(told)


def best_headline(outcome: Outcome) -> Headline:
    winner, found = outcome.winner, len(outcome.selection.found)
    accuracy, near = winner.test_accuracy, len(outcome.near)
    sure: Sure = "measured" if near else "sure"  # no test says that it is better than those near
    if not outcome.learnt or found == 1:
        sure = "cannot tell"
    elif accuracy.n == 1:
        sure = "one seed"
    return Headline(
        BEST,
        ANSWERS.best(short_label_of(winner.model), accuracy, outcome.learnt, outcome.chance, found),
        sure,
        ANSWERS.rests(outcome.learnt, near, found, accuracy.n, outcome.fresh),
        wrong_of(outcome) if found > 1 and outcome.learnt else "",
    )


def wrong_of(outcome: Outcome) -> str:
    """What it means if another one is better; the closest is named."""
    chosen, rival = outcome.selection.ordered[:2]
    behind = chosen.val_accuracy.mean - rival.val_accuracy.mean
    return ANSWERS.wrong(len(outcome.near), len(chosen.runs), short_label_of(rival.model), behind)


def smallest_headline(outcome: Outcome) -> Headline:
    small, alone, once = outcome.small, why_alone(outcome), trained_once(outcome)
    word, difference = outcome.compared or ("", None)
    behind = outcome.behind if alone == "open" else None
    if behind is not None:
        difference, word = behind, "nearest is worse"
    sure: Sure = "cannot tell"
    if word in ("as good", "worse"):
        sure = sure_of(difference.replication if difference else None)
    elif alone == "smallest":
        sure = "not asked"
    elif alone == "worse":
        sure = "fairly sure"
    elif behind is not None:
        sure = sure_of(behind.replication)
    elif alone == "open" and once:
        sure = "one seed"
    return Headline(
        SMALLEST,
        ANSWERS.smallest(
            short_label_of(small.model),
            alone,
            word,
            difference,
            small.parameters,
            outcome.winner.parameters,
            MARGIN,
            once,
            outcome.nearest,
        ),
        sure,
        ANSWERS.smallest_rests(alone, word, difference, once, nearest_name(outcome)),
        ANSWERS.smallest_wrong(word, MARGIN),
    )


@dataclass(frozen=True)
class Once:
    """The nearest smaller network where it or the winner was trained but once.

    behind: by how much its accuracy on the validation images is lower, as a fraction.
    """

    name: str
    parameters: int
    behind: float


def trained_once(outcome: Outcome) -> Once | None:
    """None where both were trained several times, and where there is no smaller one."""
    winner, near = outcome.selection.winner, outcome.nearest
    if near is None or min(len(winner.runs), len(near.runs)) > 1:
        return None
    behind = winner.val_accuracy.mean - near.val_accuracy.mean
    return Once(short_label_of(near.model), near.parameters, behind)


def nearest_name(outcome: Outcome) -> str:
    return short_label_of(outcome.nearest.model) if outcome.nearest is not None else ""


def why_alone(outcome: Outcome) -> str:
    """Why no smaller one stands beside the winner; "" where one does.

    "smallest": there is none; "worse": each is shown to have a higher validation error; "open":
    nothing is shown of one of them at least.
    """
    if not outcome.alone:
        return ""
    most = outcome.winner.parameters
    if all(one.parameters >= most for one in outcome.selection.found):
        return "smallest"
    return "open" if any(one.parameters < most for one in outcome.near) else "worse"


def change_of(outcome: Outcome, trials: int) -> tuple[str, ...]:
    """What would change the verdict."""
    winner, found = outcome.winner, len(outcome.selection.found)
    seeds = winner.test_accuracy.n
    return (ANSWERS.change(len(outcome.near), found, trials, seeds, outcome.learnt),)


def recommended_of(outcome: Outcome) -> Recommended | None:
    """The smallest network where it is as good, else the winner; None where nothing learned."""
    if not outcome.learnt:
        return None
    word, _ = outcome.compared or ("", None)
    good = word == "as good" and not outcome.alone
    one: Configuration = outcome.small if good else outcome.winner
    return Recommended.of(one, ANSWERS.recommended(outcome.alone, word, MARGIN))
