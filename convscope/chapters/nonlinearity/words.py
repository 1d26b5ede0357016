"""Which parts are nonlinear, and what each buys: in words, from numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from convscope.chapters.nonlinearity.ablation import Ablation
from convscope.chapters.nonlinearity.collapses import Collapsed
from convscope.chapters.nonlinearity.plan import KINDS, MARGIN, base_of, kinds_of, narrowest
from convscope.planning import Context
from convscope.probes.affine import Part
from convscope.recipe import ConvNet, label_of
from convscope.statistics import Configuration, SoftmaxOptimum, equivalence
from convscope.training import Run
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)
ANSWERS = texts_beside(__file__, "answers.jinja")

OFTEN = 0.90  # a replication below this is said beside the verdict


def no_answer(name: str, base: ConvNet, trained: bool) -> str:
    """Why nothing can be said; `trained`: whether the complete network was trained to the end."""
    return TEXTS.no_answer(name, label_of(base), linear=trained and not kinds_of(base))


def brief_of(ablation: Ablation) -> str:
    """The verdict as a clause."""
    return TEXTS.brief(ablation.learnt, ablation.drop, ablation.at_most, MARGIN)


def sentence_of(name: str, ablation: Ablation) -> str:
    """The verdict in short sentences: the drop, what parts buy alone, whether size helps.

    name: of the data, on one line.
    """
    label, kinds = label_of(ablation.base), ablation.factorial.kinds
    full = ablation.full.test_accuracy
    if not ablation.learnt:
        if ablation.full in ablation.at_chance:
            return TEXTS.at_chance(name, label, full)
        return ANSWERS.hardly_learned(
            name, label, full, ablation.chance, ablation.linear.test_accuracy, kinds
        )
    alone_and_once = len(kinds) == 1 and full.n == 1
    told = [TEXTS.drop(name, label, kinds, full, ablation.drop, alone_and_once, most_of(ablation))]
    if (again := ablation.drop.replication) is not None and again < OFTEN:
        told.append(TEXTS.unsure(again))
    alone = {kind: ablation.factorial.alone(kind) for kind in kinds}
    if len(kinds) > 1 and all(alone.values()):
        seeds = full.n if ablation.drop.tells else 1
        again, buys = ablation.role_replication, ablation.drop.low > 0
        seldom = again if again is not None and again < OFTEN else None
        told.append(TEXTS.role(*ablation.role, len(kinds), buys, MARGIN, seeds, seldom))
        told.append(TEXTS.each_alone([TEXTS.told(*item) for item in alone.items()]))
    if len(kinds) == 2 and ablation.drop.sign() > 0:
        for kept, taken in (kinds, kinds[::-1]):
            lost = ablation.factorial.shortfall(kept)
            if lost is not None and lost.sign() < 0:
                told.append(TEXTS.better_without(taken, lost))
    told += size_told(ablation)
    return " ".join(text for text in told if text)


def most_of(ablation: Ablation) -> float | None:
    """What all parts buy at most, where no more is shown."""
    return MARGIN if ablation.at_most else None


def size_told(ablation: Ablation) -> list[str]:
    """The sentence on that size that matters most: one that differs, or that cannot be told."""
    sizes = ablation.sizes
    if not sizes:
        return []
    order = ("different", "cannot tell", "equivalent")
    factor = min(sizes, key=lambda f: (order.index(equivalence(sizes[f], MARGIN)), f))
    fewest = fewest_of(ablation)
    return [TEXTS.larger(factor, sizes[factor], ablation.size_helps, fewest, MARGIN)]


def fewest_of(ablation: Ablation) -> int | None:
    """Values of the linear network's narrowest layer; None where they don't bound the rank of W.

    Logits that all move alike change no probability, so K classes need rank K − 1 at most.
    """
    data = ablation.linear.data
    fewest = narrowest(ablation.linear.convnet, data.in_shape)
    return fewest if fewest < data.num_classes - 1 else None


def accuracies_of(arms: Sequence[Configuration]) -> list[float]:
    return [arm.test_accuracy.mean for arm in arms]


def paragraphs_of(
    context: Context,
    ablation: Ablation,
    measured: Sequence[Part],
    done: Mapping[str, Collapsed],
    optimum: SoftmaxOptimum | None,
    runs: Sequence[Run],
) -> list[str]:
    """How this was found.

    context: of the study.
    ablation: the comparisons.
    measured: the network's parts.
    done: the affine maps of linear networks, by run.
    optimum: of softmax regression's training loss, where it was computed.
    runs: all runs of the arms, those that did not finish too.
    """
    base, full, data = ablation.base, ablation.full, context.data
    recipe = full.recipe
    nonlinear = Counter(KINDS.get(part.kind, part.kind) for part in measured if not part.affine)
    origin, reason = origin_of(context, base)
    out = [
        TEXTS.network(label_of(base), base.hidden, origin, len(measured), nonlinear),
        *([TEXTS.not_the_winner(reason)] if reason else []),
        TEXTS.training(
            recipe, len(data.train), len(full.runs), full.parameters, ablation.linear.parameters
        ),
        *parts_told(ablation),
        why(ablation),
        TEXTS.softmax(),
    ]
    if optimum is not None:
        losses = [found.train_loss for found in done.values() if found.train_loss is not None]
        out.append(bound(optimum, losses))
    if done:
        agreements = [found.agreement for found in done.values() if found.agreement is not None]
        images = next(iter(done.values())).checked
        error = max(found.max_error for found in done.values())
        out.append(TEXTS.collapse(len(done), images, error, min(agreements, default=None)))
    failed = [run for run in runs if run.status != "finished"]
    if failed:
        out.append(TEXTS.left_out(len(failed), sorted({run.status for run in failed})))
    return out


def parts_told(ablation: Ablation) -> list[str]:
    """The paragraphs on the interaction of parts and on arms at chance."""
    out, interaction = [], ablation.factorial.interaction
    if interaction is not None and len(ablation.factorial.kinds) > 1 and ablation.learnt:
        shares = {kind: ablation.factorial.shapley(kind) for kind in ablation.factorial.kinds}
        known = [TEXTS.share_of(kind, share) for kind, share in shares.items() if share]
        sign = interaction.low > 0, interaction.high < 0
        out.append(TEXTS.interaction(interaction, *(s and interaction.tells for s in sign), known))
    missed = [arm.label for arm in ablation.at_chance if arm is not ablation.full]
    if missed:
        out.append(TEXTS.arms_at_chance(missed))
    return out


def why(ablation: Ablation) -> str:
    data = ablation.linear.data
    softmax = ablation.softmax.test_accuracy if ablation.softmax else None
    return TEXTS.why(
        data.num_classes,
        math.prod(data.in_shape),
        fewest_of(ablation),
        ablation.linear.parameters,
        ablation.linear.convnet.head == "gap",
        accuracies_of(ablation.linears),
        softmax,
        [equivalence(d, MARGIN) for d in ablation.against_softmax.values()],
        MARGIN,
    )


def bound(optimum: SoftmaxOptimum, losses: Sequence[float]) -> str:
    """The paragraph on the lowest training loss of affine maps.

    losses: those of the trained linear networks, as maps over all training images.
    """
    # a bound is rounded down, what was reached is rounded up
    lower = math.floor(1e4 * optimum.lower) / 1e4
    reached = math.ceil(1e4 * optimum.loss) / 1e4
    broken = bool(losses) and min(losses) < optimum.lower
    return TEXTS.bound(optimum, lower, reached, sorted(losses), broken)


def origin_of(context: Context, base: ConvNet) -> tuple[str, str]:
    """(where the network comes from, why it is not the search's winner).

    "best", "capacity", "preset", or "" where none proposes it today; the reason is empty where
    there is none.
    """
    model, source = base_of(context)
    if model != base:
        return "", ""
    reason = context.best.reason if source == "best" and context.best is not None else ""
    return source, reason
