"""The chapter's short answers, the network to take, and what is too small or larger than needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from convscope.chapters.capacity.judgement import (
    Judgement,
    SeriesVerdict,
    sweep_name,
)
from convscope.chapters.capacity.plan import MARGIN
from convscope.recipe import short_label_of
from convscope.report import Headline, Recommended, Sized, Sure, sure_of
from convscope.statistics import Configuration, Forecast
from convscope.training import Run
from convscope.words import texts_beside

ANSWERS = texts_beside(__file__, "answers.jinja")

FILTERS, IMAGES = "How many filters are enough?", "Would more images help?"

Zone = Literal["too small", "enough", "larger than needed", ""]

ImagesWord = Literal["yes", "hardly", "open", "unknown"]


def headlines_of(judgement: Judgement) -> tuple[Headline, ...]:
    """How many filters, and whether more images would help."""
    return filters_headline(judgement), images_headline(judgement)


def nothing_told(runs: Sequence[Run]) -> tuple[Headline, ...]:
    """The same where no network finished."""
    text = ANSWERS.nothing(len({run.recipe.model for run in runs}))
    return (Headline(FILTERS, text, "cannot tell", ""),)


def filters_headline(judgement: Judgement) -> Headline:
    verdict, sized = judgement.verdict, sized_by(judgement)
    again = verdict.found.replication if verdict.found else None
    sure: Sure = sure_of(again)
    if verdict.word == "cannot tell" and verdict.too_small is None:
        sure = "one seed" if verdict.seeds < 2 and verdict.widths > 2 else "cannot tell"
    return Headline(
        FILTERS,
        ANSWERS.filters(
            verdict,
            sized,
            short_label_of(sized.model),
            sized.test_accuracy,
            MARGIN,
            best_of(judgement),
            short_label_of(best_of(judgement).model),
            any_between(judgement),
        ),
        sure,
        ANSWERS.rests(verdict, again, seeds_needed(verdict)),
        ANSWERS.wrong(verdict, MARGIN, next_wider(judgement, sized)),
    )


def seeds_needed(verdict: SeriesVerdict) -> int | None:
    return verdict.found.seeds_needed if verdict.found else None


def main_members(judgement: Judgement) -> list[Configuration]:
    """The networks of the main series on all images, by width."""
    whole, name = judgement.whole, judgement.main
    members = [one for one in whole if sweep_name(one.convnet, whole) == name]
    return sorted(members, key=lambda one: one.convnet.width)


def best_of(judgement: Judgement) -> Configuration:
    """The network of lowest validation loss of the main series; the best of all without one."""
    members = main_members(judgement) or [judgement.best]
    return min(members, key=lambda one: one.val_loss.mean)


def any_between(judgement: Judgement) -> bool:
    """Whether a width of the main series lies between those that are too few and the best."""
    few, best = judgement.verdict.too_small or 0, best_of(judgement).convnet.width
    return any(few < one.convnet.width < best for one in main_members(judgement))


def sized_by(judgement: Judgement) -> Configuration:
    """The network that the verdict is about; the best one where it says nothing."""
    verdict = judgement.verdict
    found = [one for one in main_members(judgement) if one.convnet.width == verdict.width]
    return found[0] if found and verdict.word != "cannot tell" else judgement.best


def next_wider(judgement: Judgement, one: Configuration) -> float | None:
    """How many times its parameters the next wider network of the main series has."""
    wider = [n for n in main_members(judgement) if n.convnet.width > one.convnet.width]
    return wider[0].parameters / one.parameters if wider else None


def change_of(judgement: Judgement) -> tuple[str, ...]:
    """What would change the verdict."""
    whole, verdict = judgement.whole, judgement.verdict
    falling = all(run.best["epoch"] == run.last["epoch"] for n in whole for run in n.runs)
    return (ANSWERS.change(verdict, MARGIN, falling, seeds_needed(verdict), judgement.images),)


def images_headline(judgement: Judgement) -> Headline:
    forecast, word = judgement.forecast, images_word(judgement.forecast)
    return Headline(
        IMAGES,
        ANSWERS.images(word, forecast, MARGIN, judgement.images, judgement.available),
        sure_of_images(word, forecast),
        ANSWERS.images_rest(word, forecast, MARGIN),
        ANSWERS.images_wrong(word, judgement.unused),
    )


def sure_of_images(word: ImagesWord, forecast: Forecast) -> Sure:
    if word in ("yes", "hardly"):
        return "forecast"
    return "not asked" if forecast.reason == "too few numbers of images" else "cannot tell"


def images_word(forecast: Forecast) -> ImagesWord:
    """What the interval of the gain says: above 0 and no less than the margin, or below it."""
    gain = forecast.images
    if gain is None or forecast.size is None:
        return "unknown"
    if gain.high < MARGIN:
        return "hardly"
    return "yes" if gain.low > 0 and gain.mean >= MARGIN else "open"


def recommended_of(judgement: Judgement) -> Recommended | None:
    """The smallest network that is shown to be near the best one; None if it is near chance."""
    small = judgement.small
    accuracy, labels = small.test_accuracy, small.data.test.labels
    if not accuracy.low > float(labels.bincount().max()) / max(1, len(labels)):
        return None
    return Recommended.of(small, ANSWERS.recommended(small is judgement.best, MARGIN))


def sizes_of(judgement: Judgement) -> tuple[Sized, ...]:
    """All networks on all images, with zones where the main series has a word that gives them."""
    series = set(main_members(judgement))
    return tuple(
        Sized(
            one.model,
            one.parameters,
            one.filters,
            1 - one.test_accuracy.mean,
            max(0.0, 1 - one.test_accuracy.high),
            min(1.0, 1 - one.test_accuracy.low),
            zone_of(judgement, one) if one in series else "",
            one.test_accuracy.scatter_known,
        )
        for one in sorted(judgement.whole, key=lambda one: one.parameters)
    )


def zone_of(judgement: Judgement, one: Configuration) -> Zone:
    """Where a network of the main series stands, as far as tests say.

    A plateau says what is enough. Too small are those that lie above the widest one's loss by more
    than the margin, by tests that err in 5 % together. Of the widest one, whose loss still falls,
    nobody knows.
    """
    verdict, sized = judgement.verdict, sized_by(judgement)
    width = one.convnet.width
    if verdict.too_small is not None and width <= verdict.too_small:
        return "too small"
    if verdict.word != "plateau" or width < verdict.width:
        return ""
    return "enough" if one is sized else "larger than needed"
