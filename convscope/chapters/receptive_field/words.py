"""One wide layer against a cascade: in words, from numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.chapters.receptive_field.arms import head_of, is_single, sees_means
from convscope.chapters.receptive_field.comparisons import (
    Comparison,
    Heads,
    Question,
    chance_of,
    learned,
)
from convscope.chapters.receptive_field.fields import FeatureField
from convscope.chapters.receptive_field.plan import MARGIN, Source
from convscope.planning import Context
from convscope.recipe import ConvNet, Model, label_of
from convscope.statistics import Configuration
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)
WHY = texts_beside(__file__, "why.jinja")

SURE = 0.90  # an answer that would come out again less often says so


@dataclass(frozen=True)
class Evidence:
    """What the chapter's sentences rest on.

    question, heads: the two answers; source: where the network of question 1 comes from.
    comparisons: all of them; path: those from a single layer to the cascade.
    fields: of every network; arms: all of them.
    """

    question: Question
    source: Source
    heads: Heads | None
    comparisons: Sequence[Comparison]
    path: Sequence[Comparison]
    fields: Mapping[Model, FeatureField]
    arms: Sequence[Configuration] = ()


def name_of(model: Model) -> str:
    """The chapter's label of a network."""
    if not isinstance(model, ConvNet):
        return label_of(model)
    if is_single(model):
        dilation = model.block_dilations[0]
        return TEXTS.one_layer(model.kernel, dilation, model.width, head_text(model))
    plain = ConvNet(
        model.width,
        model.depth,
        pool=model.pool,
        head=model.head,
        hidden=model.hidden,
        dilations=model.dilations,
    )
    if plain != replace(model, block_depth=1) or model.pool not in ("max", "none"):
        return label_of(model)
    layers = model.depth * model.block_depth
    pooling, dilations = model.pool != "none", model.dilations
    return TEXTS.cascade(layers, model.width, pooling, dilations, model.hidden, head_of(model))


def head_text(model: ConvNet) -> str:
    """As `head_of`, with the size of the neighbourhoods."""
    return TEXTS.means(model.pools[0]) if sees_means(model) else head_of(model)


def no_answer(name: str) -> str:
    """Why nothing can be said."""
    return TEXTS.no_answer(name)


def sentence_of(context: Context, name: str, told: Evidence) -> str:
    """The verdict in short sentences: the answer, its figures and reason, the head to choose, and
    what the field does.
    """
    question = told.question
    out = [TEXTS.answer(name, question, reason_of(context, question))]
    if question.word != "cannot tell":
        raising, lowering = causes_of(told)
        yes = question.word == "yes"
        out.append(TEXTS.figures(question, MARGIN))
        out += fits_of(told)
        end = told.path[-1].a if told.path else None
        causes, verb = (lowering, "lower") if yes else (raising, "raise")
        out.append(WHY.because(causes, verb, end, question.net))
    if question.replication is not None and question.replication < SURE:
        out.append(TEXTS.unsure(question.replication))
    if told.heads is not None:
        out.append(choice_of(told.heads))
    out += [TEXTS.field(span, effects) for span, effects in widest(told.comparisons).items()]
    if any(not c.difference.degrees for c in told.comparisons):
        out.append(TEXTS.one_seed())
    return TEXTS.joined(out)


def fits_of(told: Evidence) -> list[str]:
    """How well single layers with either head, and the chosen network, do on training images."""
    net = told.question.net
    single = [arm for arm in told.arms if is_single(arm.convnet) and learned(arm)]
    by_head = [
        [arm for arm in single if arm.convnet.head == head and not sees_means(arm.convnet)]
        for head in ("flatten", "gap")
    ]
    if net is None or not all(by_head):
        return []
    best = (min(arms, key=lambda one: one.val_loss.mean) for arms in by_head)
    return [WHY.fits(*best, net)]


def causes_of(told: Evidence) -> tuple[list[str], list[str]]:
    """What raises and what lowers test accuracy on the way from a single layer to the cascade."""
    raising, lowering = (
        list(dict.fromkeys(TEXTS.cause(c.factor) for c in told.path if c.word == word))
        for word in ("better", "worse")
    )
    return (
        [cause for cause in raising if cause not in lowering],
        [cause for cause in lowering if cause not in raising],
    )


def reason_of(context: Context, question: Question) -> str:
    """Why the question has no answer; empty where it has one."""
    if question.word != "cannot tell":
        return ""
    net, shallow, difference = question.net, question.shallow, question.difference
    chance = chance_of(context.data)
    if net is None:
        return TEXTS.no_network()
    if shallow is None or difference is None:
        return TEXTS.no_single_layer()
    if not learned(net):
        return TEXTS.not_learned(net.label, net.val_accuracy, chance)
    if not learned(shallow):
        return TEXTS.not_learned(shallow.label, shallow.val_accuracy, chance)
    if not difference.tells:
        return TEXTS.no_seeds()
    return TEXTS.too_close(shallow.label, difference, question.tested)


def choice_of(heads: Heads) -> str:
    """Which head to choose, with the reason."""
    c = heads.comparison
    if heads.by == "nothing":
        return TEXTS.no_choice([arm.label for arm in (c.a, c.b) if not learned(arm)])
    head = "FC" if heads.chosen.convnet.head == "flatten" else "GAP"
    difference = c.difference if heads.chosen is c.a else turned(c)
    layers = (
        TEXTS.layer(arm.filters, head_text(arm.convnet)) for arm in (heads.chosen, heads.other)
    )
    return TEXTS.choice(head, heads, difference, *layers, MARGIN)


def turned(c: Comparison) -> Any:
    """The difference seen from the other network."""
    d = c.difference
    return replace(d, mean=-d.mean, low=-d.high, high=-d.low)


def widest(comparisons: Sequence[Comparison]) -> dict[tuple[int, int], dict[str, str]]:
    """The largest field against the smallest of the course's single layer, both in pixels: by head
    what the step does.
    """
    found: dict[tuple[int, int], dict[str, str]] = {}
    seen = set()
    for c in comparisons:
        if c.factor == "field" and is_single(c.a.convnet) and not c.confounded:
            if c.head in seen:
                continue
            seen.add(c.head)
            small, large = (2 * arm.convnet.block_dilations[0] + 1 for arm in (c.b, c.a))
            found.setdefault((small, large), {})[c.head] = effect_of(c)
    return found


def effect_of(c: Comparison) -> str:
    """What a step does to test accuracy, as the test says."""
    return TEXTS.effect(c.word, c.difference, MARGIN, c.doubt)


def deepest(told: Evidence) -> tuple[str, FeatureField] | None:
    """The cascade of the largest field that was measured, for the sentence on effective fields."""
    known = {
        c.a.label: told.fields[c.a.model]
        for c in told.path
        if told.fields[c.a.model].trained
        and told.fields[c.a.model].theoretical is not None
        and learned(c.a)
    }
    return max(known.items(), key=lambda item: item[1].theoretical or 0, default=None)


def brief_of(question: Question) -> str:
    """The verdict as a clause."""
    return TEXTS.brief(question, MARGIN)


def paragraphs_of(context: Context, arms: Sequence[Configuration], told: Evidence) -> list[str]:
    """How this was found."""
    seeds = [arm.test_accuracy.n for arm in arms]
    images = len(context.data.train)
    out = [
        TEXTS.networks(),
        TEXTS.training(arms[0].runs[0].recipe, images, min(seeds), max(seeds)),
        TEXTS.reading(MARGIN),
    ]
    failed = sum(1 for arm in arms if not learned(arm))
    if failed:
        out.append(TEXTS.failed(failed, len(arms), chance_of(context.data)))
    heads = [c for c in told.comparisons if c.factor == "head"]
    out += [TEXTS.heads(c, effect_of(c)) for c in heads]
    if (net := told.question.net) is not None:
        out.append(TEXTS.network(net.label, net.test_accuracy, told.source))
    if any(field.trained for field in told.fields.values()):
        deep = deepest(told)
        out.append(TEXTS.effective_fields(TEXTS.training_of_fields(*deep) if deep else ""))
    return out
