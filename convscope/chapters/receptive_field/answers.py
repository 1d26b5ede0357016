"""The chapter's short answer."""

from __future__ import annotations

from convscope.chapters.receptive_field.comparisons import Question, learned
from convscope.chapters.receptive_field.plan import MARGIN
from convscope.recipe import short_label_of
from convscope.report import Headline, Sure, sure_of
from convscope.words import texts_beside

ANSWERS = texts_beside(__file__, "answers.jinja")

SINGLE = "Does one wide layer do as well as a cascade?"


def headlines_of(question: Question, reason: str) -> tuple[Headline, ...]:
    """reason: why the question has no answer; empty where it has one."""
    name = "" if question.net is None else short_label_of(question.net.model)
    pair = [one for one in (question.net, question.shallow) if one is not None]
    stuck = next((one for one in pair if not learned(one)), None)
    sure: Sure = "cannot tell"
    if question.word != "cannot tell":
        sure = sure_of(question.replication)
    elif not stuck and question.net is not None and question.net.test_accuracy.n == 1:
        sure = "one seed"
    return (
        Headline(
            SINGLE,
            ANSWERS.single(
                question,
                name,
                MARGIN,
                short_label_of(stuck.model) if stuck else "",
                stuck.val_accuracy.mean if stuck else 0.0,
            ),
            sure,
            ANSWERS.rests(question, reason, question.replication),
            ANSWERS.wrong(question.word),
        ),
    )


def change_of(question: Question) -> tuple[str, ...]:
    """What would change the verdict."""
    return (ANSWERS.change(question.word),)
