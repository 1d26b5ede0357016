"""Winner, smallest and the search in words and numbers: the texts are in texts.jinja."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convscope.chapters.best.choice import near
from convscope.chapters.best.clock import LATENCY_BATCH
from convscope.chapters.best.plan import BATCH, PRESETS
from convscope.planning import IMPORTANCE_TRIALS, JOURNAL, OPTIMIZERS, Context, Proposer
from convscope.recipe import ConvNet, Recipe
from convscope.statistics import Configuration
from convscope.training import Run
from convscope.words import count, texts_beside

TEXTS = texts_beside(__file__)
FEW = 10  # trials per setting below which a search is called small


def verdict_of(winner: Configuration, small: Configuration, found: Sequence[Configuration]) -> str:
    """The verdict as programs read it, too."""
    if len(found) == 1:
        return "cannot tell from one configuration"
    others = len(near(winner, found))
    doubt = f" (not told apart from {count(others, 'other')})" if others else ""
    smallest = "" if small is winner else f"; smallest as good: {small.label}"
    return f"{winner.label}{doubt}{smallest}"


def figures(c: Configuration, prefix: str) -> dict[str, Any]:
    """For results.json; `prefix` goes before every key."""
    out: dict[str, Any] = {
        f"{prefix}parameters": c.parameters,
        f"{prefix}flops": c.flops,
        f"{prefix}seeds": c.val_loss.n,
    }
    for name, e in (
        ("val_loss", c.val_loss),
        ("test_loss", c.test_loss),
        ("test_accuracy", c.test_accuracy),
    ):
        out |= {
            f"{prefix}{name}": e.mean,
            f"{prefix}{name}_interval": [e.low, e.high],
            f"{prefix}{name}_se": e.se,
        }
    return out


def nothing_finished(name: str, finals: Sequence[Run]) -> str:
    return TEXTS.nothing_finished(name, len(finals), sorted({run.status for run in finals}))


def sentence_of(
    name: str,
    winner: Configuration,
    small: Configuration,
    found: Sequence[Configuration],
    search: Proposer,
) -> str:
    """The answer, for people."""
    searched = {tried.recipe for tried in search.trained}
    trials, settings = len(search.trained), len(search.space.axes())
    return TEXTS.sentence(
        name=name,
        winner=winner,
        small=small,
        found=len(found),
        tried=len(searched | {replace(c.recipe, seed=search.seed) for c in found}),
        trials=trials,
        settings=settings,
        few=trials < FEW * settings,
    )


def brief_of(winner: Configuration, small: Configuration) -> str:
    return TEXTS.brief(winner, small)


# paragraphs


def selection_of(
    context: Context,
    winner: Configuration,
    found: Sequence[Configuration],
    latencies: Mapping[Recipe, dict[str, float] | None],
) -> list[str]:
    """How winner and smallest are chosen, and what is not known of them."""
    out = [
        TEXTS.selection(
            finals=PRESETS[context.preset].finals,
            seeds=len(context.seeds),
            with_capacity=any("capacity" in c.chapters for c in found),
        )
    ]
    if winner.val_loss.n == 1:
        out.append(TEXTS.one_seed())
    if others := near(winner, found):
        out.append(TEXTS.not_told_apart(others))
    if any(latencies.values()):
        base = context.base
        out.append(TEXTS.latency(base.device, base.precision, base.threads, LATENCY_BATCH))
    return out


def strategy_of(
    context: Context, search: Proposer, importance: Mapping[str, float] | None
) -> list[str]:
    """What the search did, and what limits it: two paragraphs."""
    told = [
        TEXTS.proposed(search.sampler, search.seed, BATCH, len(search.trained), search.epochs),
        what_became_of(search),
        TEXTS.left_out(len(search.skipped), search.duplicates),
        what_is_shared(search.space.reference),
    ]
    if search.ended:
        told.append(TEXTS.ended(search.ended))
    written = context.folder is not None and (context.folder / JOURNAL).exists()
    if search.journal.problem or written:
        told.append(TEXTS.journal(JOURNAL, search.journal.problem))
    return [" ".join(filter(None, told)), limits_of(search, importance)]


def what_became_of(search: Proposer) -> str:
    """How many trials ended in which way."""
    states = Counter(tried.state for tried in search.trained)
    pruned = Counter(
        tried.runs[-1].recipe.epochs
        for tried in search.trained
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
    told = TEXTS.limits(search.epochs[-1], search.space.ranges.flops / 1e6)
    trials = len([tried for tried in search.trained if tried.runs])
    if importance is None and trials < IMPORTANCE_TRIALS:
        told = f"{told} {TEXTS.no_importance(trials, IMPORTANCE_TRIALS)}"
    return told
