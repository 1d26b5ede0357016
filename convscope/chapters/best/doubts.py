"""Labels of held-out images that the winner doubts, from the preset `standard` on."""

from __future__ import annotations

from typing import Any

from convscope.chapters.best.outcome import Outcome
from convscope.errors import UserError
from convscope.planning import Context
from convscope.report import Gallery, pictures
from convscope.statistics import Suspect, accuracy_without, shares_of, suspects_of
from convscope.training import check_device, note_unreadable
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)
SHOWN = 12  # images of the page


def doubts_of(
    context: Context, outcome: Outcome, names: list[str]
) -> tuple[dict[str, Any], list[Gallery], list[str]]:
    """For results.json, and a gallery and a paragraph for the page; nothing in `quick`.

    names: of the classes, a line each.
    """
    winner = outcome.winner
    if context.preset == "quick":
        return {}, [], []

    def found() -> list[list[Any]]:
        check_device(winner.recipe.device)
        suspects = suspects_of(winner.runs, context.data)
        return [[one.split, one.index, one.label, one.suggested, one.margin] for one in suspects]

    try:
        suspects = [Suspect(*row) for row in context.computed("suspects", winner.run, found)]
    except UserError as error:
        note_unreadable("suspected labels", winner.run, error)
        return {}, [], []
    shares = shares_of(suspects, context.data)
    without = accuracy_without(winner.runs, winner.right, suspects)
    numbers = {
        "suspects": {
            "shares": shares,
            "test_accuracy_without": without,
            "images": [[one.split, one.index, one.label, one.suggested] for one in suspects],
        }
    }
    text = TEXTS.doubts(shares, winner.test_accuracy.mean, without, len(winner.runs))
    return numbers, gallery(context, suspects, names), [text]


def gallery(context: Context, suspects: list[Suspect], names: list[str]) -> list[Gallery]:
    """The surest suspects as pictures."""
    shown = [
        (
            pictures.image(getattr(context.data, one.split).images[one.index]),
            TEXTS.doubted(names[one.label], names[one.suggested], one.split, one.index),
        )
        for one in suspects[:SHOWN]
    ]
    if not shown:
        return []
    texts = [text for _, text in shown]
    alt, caption = TEXTS.doubts_alt(texts), TEXTS.doubts_caption(len(suspects))
    return [Gallery("suspects", "Labels that may be wrong", tuple(shown), alt, caption)]
