"""The chapter's short answers."""

from __future__ import annotations

from typing import Literal

from convscope.chapters.nonlinearity.ablation import Ablation
from convscope.chapters.nonlinearity.plan import MARGIN
from convscope.recipe import short_label_of
from convscope.report import Headline, Sure, sure_of
from convscope.statistics import equivalence
from convscope.words import listed, texts_beside

ANSWERS = texts_beside(__file__, "answers.jinja")

MATTERS, LARGER = "Did nonlinearity matter?", "Does a larger linear network help?"

Word = Literal["buys", "costs", "at most", "open", "did not learn", "hardly learned"]


def nothing_told(linear: bool) -> tuple[Headline, ...]:
    """Where there is nothing to compare; linear: the network has no nonlinear part."""
    return (Headline(MATTERS, ANSWERS.missing(linear), "cannot tell", ""),)


def word_of(ablation: Ablation) -> Word:
    """The chapter's verdict as a word."""
    if not ablation.learnt:
        return "hardly learned" if ablation.full not in ablation.at_chance else "did not learn"
    if sign := ablation.drop.sign():
        return "buys" if sign > 0 else "costs"
    return "at most" if ablation.at_most else "open"


def headlines_of(ablation: Ablation) -> tuple[Headline, ...]:
    """Whether nonlinear parts matter, and whether a larger linear network helps."""
    word, drop, full = word_of(ablation), ablation.drop, ablation.full
    sure: Sure = sure_of(drop.replication)
    if word in ("open", "did not learn", "hardly learned"):
        sure = "one seed" if word == "open" and full.test_accuracy.n == 1 else "cannot tell"
    seeds = full.test_accuracy.n
    first = Headline(
        MATTERS,
        ANSWERS.drop(
            word,
            short_label_of(full.model),
            listed(ablation.factorial.kinds),
            full.test_accuracy.mean,
            ablation.linear.test_accuracy.mean,
            drop,
            ablation.chance,
            MARGIN,
        ),
        sure,
        ANSWERS.rests(word, drop, seeds),
        ANSWERS.wrong(word),
    )
    return (first, *larger_headline(ablation)) if ablation.learnt else (first,)


def larger_headline(ablation: Ablation) -> list[Headline]:
    """Of the size that matters most: one that differs, or that cannot be told."""
    sizes, helps = ablation.sizes, ablation.size_helps
    if not sizes:
        return []
    order = ("different", "cannot tell", "equivalent")
    factor = min(sizes, key=lambda f: (order.index(equivalence(sizes[f], MARGIN)), f))
    change = sizes[factor]
    sure: Sure = "cannot tell" if helps == "cannot tell" else sure_of(change.replication)
    return [
        Headline(
            LARGER,
            ANSWERS.larger(helps, factor, change, MARGIN),
            sure,
            ANSWERS.larger_rests(change, MARGIN),
        )
    ]


def change_of(ablation: Ablation) -> tuple[str, ...]:
    """What would change the verdict."""
    return (ANSWERS.change(word_of(ablation), ablation.full.test_accuracy.n),)
