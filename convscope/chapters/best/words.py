"""Winner, smallest and the search in words and numbers: the texts are in texts.jinja."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from convscope.chapters.best.choice import MARGIN
from convscope.chapters.best.clock import LATENCY_BATCH
from convscope.chapters.best.flips import MIRROR_MARGIN, Flips
from convscope.chapters.best.outcome import Outcome, schedule_of
from convscope.chapters.best.plan import BATCH, PRESETS, REGRETS
from convscope.planning import (
    IMPORTANCE_TRIALS,
    JOURNAL,
    OPTIMIZERS,
    Context,
    Proposer,
)
from convscope.recipe import ConvNet, Recipe
from convscope.report import BestResult
from convscope.statistics import imbalance
from convscope.training import Run
from convscope.words import count, texts_beside

TEXTS = texts_beside(__file__)
FEW = 10  # trials per setting below which a search is called small


def verdict_of(outcome: Outcome) -> str:
    """The verdict as programs read it, too."""
    selection = outcome.selection
    if len(selection.found) == 1:
        return "cannot tell from one configuration"
    if not outcome.learnt:
        return "cannot tell: no network is shown to beat chance"
    others = len(outcome.near)
    doubt = f" (not told apart from {count(others, 'other')})" if others else ""
    smallest = ""
    if outcome.compared is not None:
        word, _ = outcome.compared
        told = {
            "as good": f"; smallest as good: {selection.smallest.label}",
            "worse": f"; smaller and worse: {selection.smallest.label}",
            "cannot tell": f"; cannot tell whether as good: {selection.smallest.label}",
        }
        smallest = told[word]
    return f"{selection.winner.label}{doubt}{smallest}"


def nothing_finished(name: str, finals: Sequence[Run]) -> str:
    return TEXTS.nothing_finished(name, len(finals), sorted({run.status for run in finals}))


def sentence_of(name: str, outcome: Outcome, search: Proposer) -> str:
    """The answer, for people."""
    selection = outcome.selection
    searched = {tried.recipe for tried in search.tried}
    trials, settings = len(search.tried), len(search.space.axes())
    chosen = (replace(c.recipe, seed=search.seed) for c in selection.found)
    return TEXTS.sentence(
        name=name,
        outcome=outcome,
        winner=selection.winner,
        schedules=[schedule_of(one.recipe) for one in (outcome.winner, outcome.small)],
        margin=MARGIN,
        found=len(selection.found),
        tried=len(searched | set(chosen)),
        trials=trials,
        settings=settings,
        few=trials < FEW * settings,
    )


def brief_of(outcome: Outcome) -> str:
    good = outcome.compared is not None and outcome.compared[0] == "as good"
    return TEXTS.brief(outcome.winner, outcome.small if good else None)


# paragraphs


def selection_text(
    context: Context,
    outcome: Outcome,
    latencies: Mapping[Recipe, dict[str, float] | None],
    gives: BestResult,
) -> list[str]:
    """How winner and smallest are chosen, and what is not known of them."""
    selection = outcome.selection
    out = [
        TEXTS.selection(
            finals=PRESETS[context.preset].finals,
            seeds=max((c.val_loss.n for c in selection.found if "best" in c.chapters), default=1),
            with_capacity=any("capacity" in c.chapters for c in selection.found),
            temperatures=selection.temperature(selection.winner) is not None,
        ),
        TEXTS.fresh(outcome.fresh, MARGIN, outcome.alone),
    ]
    if outcome.winner.balanced_accuracy is not None:
        out.append(TEXTS.unequal(imbalance(context.data), outcome.chance, outcome.winner))
    if outcome.winner.test_loss.n == 1:
        out.append(TEXTS.one_seed())
    if outcome.near:
        out.append(TEXTS.not_told_apart(outcome.near, outcome.judged.tells))
    if gives.reason:
        out.append(TEXTS.for_others(gives.reason))
    if any(latencies.values()):
        base = context.base
        out.append(TEXTS.latency(base.device, base.precision, base.threads, LATENCY_BATCH))
    return out


def strategy_of(
    context: Context, search: Proposer, importance: Mapping[str, float] | None, flips: Flips
) -> list[str]:
    """What the search did, what limits it, and whether images are mirrored."""
    whole = search.space.reference.limit or len(context.data.train)
    told = [
        TEXTS.proposed(
            search.sampler,
            search.seed,
            BATCH,
            len(search.tried),
            search.epochs,
            search.limit if search.limit not in (None, whole) else None,
        ),
        what_became_of(search),
        TEXTS.repeated(search.duplicates),
        what_is_shared(search.space.reference),
    ]
    if search.ended:
        told.append(TEXTS.ended(search.ended))
    written = context.folder is not None and (context.folder / JOURNAL).exists()
    if search.journal.problem or written:
        told.append(TEXTS.journal(JOURNAL, search.journal.problem))
    flipped = TEXTS.flips(flips, MIRROR_MARGIN, flips.recipe.epochs, search.space.reference.flip)
    return [" ".join(filter(None, told)), limits_of(search, importance), flipped]


def what_became_of(search: Proposer) -> str:
    """How many trials ended in which way."""
    states = Counter(tried.state for tried in search.tried)
    pruned = Counter(
        tried.runs[-1].recipe.epochs
        for tried in search.tried
        if tried.state == "pruned" and tried.runs
    )
    named = ("finished", "pruned", "failed", "stopped", "untrained")
    return TEXTS.became(
        pruned_after=sorted(pruned.items()), **{state: states[state] for state in named}
    )


def what_is_shared(reference: Recipe) -> str:
    """What all configurations have from the reference recipe."""
    model = reference.model
    net = model if isinstance(model, ConvNet) else None
    return TEXTS.shared(
        optimizer=OPTIMIZERS[reference.optimizer],
        batch=reference.batch,
        label_smoothing=reference.label_smoothing,
        whitening=net is not None and net.stem == "whiten",
        early_pooling=net is not None and net.pool_at == "first",
    )


def limits_of(search: Proposer, importance: Mapping[str, float] | None) -> str:
    space = search.space
    trials = len([tried for tried in search.tried if tried.runs])
    told = TEXTS.limits(
        epochs=search.epochs[-1],
        headroom=space.ranges.headroom,
        million_flops=space.limits().flops / 1e6,
        settings=space.settings(),
        share=space.share,
        trials=len(search.tried),
        regrets=REGRETS,
        fitted=space.whole is not None and space.whole != space.model,
    )
    if importance is None and trials < IMPORTANCE_TRIALS:
        told = f"{told} {TEXTS.no_importance(trials, IMPORTANCE_TRIALS)}"
    return told
