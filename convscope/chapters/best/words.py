"""Winner and smallest in words and numbers: verdict, sentence, brief, and how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convscope.chapters.best.choice import near
from convscope.chapters.best.clock import LATENCY_BATCH
from convscope.chapters.best.plan import PRESETS
from convscope.chapters.best.trials import counted
from convscope.planning import Context, Proposer
from convscope.recipe import Recipe
from convscope.statistics import Configuration
from convscope.training import Run

FEW = 10  # trials a setting below which a search is called small


def verdict_of(winner: Configuration, small: Configuration, found: Sequence[Configuration]) -> str:
    if len(found) == 1:
        return "cannot tell from one configuration"
    others = len(near(winner, found))
    doubt = f" (not told apart from {others} other{'s' if others > 1 else ''})" if others else ""
    smallest = "" if small is winner else f"; smallest as good: {small.label}"
    return f"{winner.label}{doubt}{smallest}"


def nothing_finished(name: str, finals: Sequence[Run]) -> str:
    states = sorted({run.status for run in finals})
    why = (
        f"of {len(finals)} runs to the end none finished ({', '.join(states)})"
        if finals
        else "no network has been trained to the end"
    )
    return f"On {name} {why}, so nothing can be said about the best network."


def sentence_of(
    name: str,
    winner: Configuration,
    small: Configuration,
    found: Sequence[Configuration],
    search: Proposer,
) -> str:
    tried = len(
        {t.recipe for t in search.trained} | {replace(c.recipe, seed=search.seed) for c in found}
    )
    parts = [
        f"On {name}, {winner.label} has the lowest validation loss, {winner.val_loss.mean:.3f} ± {winner.val_loss.se:.3f} (standard error), "
        f"of {tried} configuration{'s' if tried > 1 else ''} tried, {len(found)} of them trained to the end ({quoted(winner)})"
    ]
    if small is winner:
        parts.append(
            "no smaller one is within one standard error of it"
            if len(found) > 1
            else "there is none to compare it with"
        )
    else:
        parts.append(
            f"the smallest within one standard error of it is {small.label} ({quoted(small)})"
        )
    count, settings = len(search.trained), len(search.space.axes())
    if count < FEW * settings:
        parts.append(
            f"{count} trial{'s' if count != 1 else ''} of {settings} settings {'are' if count != 1 else 'is'} far from a search of all there is"
        )
    return "; ".join(parts) + "."


def brief_of(winner: Configuration, small: Configuration) -> str:
    a = winner.test_accuracy
    reached = f"the best network found is {winner.label} ({winner.parameters:,} parameters, test accuracy {100 * a.mean:.1f} % ± {50 * (a.high - a.low):.1f})"
    if small is winner:
        return reached
    return f"{reached}, the smallest as good {small.label} ({small.parameters:,} parameters)"


def quoted(c: Configuration) -> str:
    """Size and test figures in words."""
    a, n = c.test_accuracy, c.val_loss.n
    interval = f"95 % interval {100 * a.low:.1f} to {100 * a.high:.1f} %"
    seeds = f"mean of {n} seeds" if n > 1 else "one seed"
    return f"{c.parameters:,} parameters, test accuracy {100 * a.mean:.1f} % ({interval}), test loss {c.test_loss.mean:.3f}, {seeds}"


def figures(c: Configuration, prefix: str) -> dict[str, Any]:
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


def selection_of(
    context: Context,
    winner: Configuration,
    found: Sequence[Configuration],
    latencies: Mapping[Recipe, dict[str, float] | None],
) -> list[str]:
    seeds = len(context.seeds)
    out = [
        f"Selection. The strong recipe and up to {PRESETS[context.preset].finals} of the others, those with the lowest validation loss at the highest rung reached, were "
        f"asked for over {counted(seeds, 'seed', 'seeds')} to the end"
        + (
            ", and the networks of the capacity chapter compete with them"
            if any("capacity" in c.chapters for c in found)
            else ""
        )
        + ". The winner has the lowest mean validation loss at the best epochs; the smallest is the one with the fewest parameters whose mean is within one standard error of it. "
        "The winner's validation loss is the lowest of several and so a little too good; its test figures are not chosen by and stand for new images of this kind."
    ]
    if winner.val_loss.n == 1 or max(c.val_loss.n for c in found) == 1:
        out.append(
            "One seed. The winner was trained with one seed; how far another seed would move it is not known from its own runs."
        )
    if others := near(winner, found):
        out.append(
            f"What it can't tell. The validation loss of {counted(len(others), 'other configuration is', 'other configurations are')} within two standard errors of the "
            f"difference from the winner's ({'; '.join(c.label for c in others)}): which of these is better on new images is not settled."
        )
    if any(latencies.values()):
        base = context.base
        out.append(
            f"Latency. Median time of a forward pass in evaluation mode on the study's machine ({base.device}, {base.precision}, {counted(base.threads, 'thread', 'threads')}), "
            f"for one image and for a batch of {LATENCY_BATCH}; reading and normalising images are not in it."
        )
    return out
