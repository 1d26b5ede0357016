"""Sweeps, their verdicts, and what the chapter says: the texts are in texts.jinja."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan

import numpy as np

from convscope.planning import OPTIMIZERS, Context
from convscope.recipe import ConvNet, hidden_of, label_of
from convscope.statistics import FALL, Configuration, sweep_verdict
from convscope.training import Run
from convscope.words import count, texts_beside

TEXTS = texts_beside(__file__)


def sweep_name(model: ConvNet, networks: Sequence[Configuration]) -> str:
    """The sweep that a network belongs to: its label without the width.

    Fully connected layers are named where the sweeps of `networks` differ in them.
    """
    name = label_of(replace(model, width=1)).removeprefix("width 1, ")
    several = len({n.convnet.hidden for n in networks}) > 1
    return f"{name}, hidden {hidden_of(model)}" if several else name


def sweeps_among(networks: Sequence[Configuration]) -> dict[str, list[Configuration]]:
    """The networks of each sweep, ordered by width."""
    groups: dict[str, list[Configuration]] = {}
    for n in sorted(
        networks, key=lambda n: (n.convnet.depth, n.convnet.block_depth, n.convnet.width)
    ):
        groups.setdefault(sweep_name(n.convnet, networks), []).append(n)
    return groups


@dataclass(frozen=True)
class SweepVerdict:
    """What the validation loss of a sweep does as its networks grow wider."""

    word: str  # plateau, non-monotone, still improving or cannot tell
    width: int  # that the word is about; without meaning for "cannot tell"
    widths: int  # how many there are
    seeds: int  # of the network that has fewest

    def __str__(self) -> str:
        """As results.json has it: "plateau from width 8", "cannot tell from 1 seed"."""
        joint = {"plateau": "from", "non-monotone": "at", "still improving": "at"}.get(self.word)
        if joint:
            return f"{self.word} {joint} width {self.width}"
        few = count(self.widths, "width") if self.widths < 3 else count(self.seeds, "seed")
        return f"{self.word} from {few}"


def verdict_on(members: Sequence[Configuration]) -> SweepVerdict:
    """members: the networks of one sweep, ordered by width; runs that recorded no losses by image
    allow no verdict.
    """
    losses = {n.convnet.width: n.losses("val") for n in members}
    seeds = min(len(n.runs) for n in members)
    known = all(len(one) for values in losses.values() for one in values)
    if len(members) < 3 or seeds < 2 or not known:
        return SweepVerdict("cannot tell", members[-1].convnet.width, len(members), seeds)
    found = sweep_verdict({width: np.stack(values) for width, values in losses.items()})
    width = members[-1].convnet.width if found.size is None else int(found.size)
    return SweepVerdict(found.word, width, len(members), seeds)


# texts


def nothing_finished(name: str, runs: Sequence[Run]) -> str:
    return TEXTS.nothing_finished(name, sorted({run.status for run in runs}))


def sentence_of(
    name: str,
    verdict: SweepVerdict,
    best: Configuration,
    small: Configuration,
    networks: Sequence[Configuration],
    beside: Sequence[Configuration],
) -> str:
    """The answer, for people. verdict: on the sweep of `best`."""
    by_size = sorted(networks, key=lambda n: n.parameters)
    from_largest = sorted(networks, key=lambda n: n.parameters, reverse=True)
    return TEXTS.sentence(
        name=name,
        sweep=sweep_name(best.convnet, networks),
        verdict=verdict,
        best=best,
        small=small,
        networks=len(networks),
        underfitting=[n for n in from_largest if n.verdict == "underfits"],
        overfitting=[n for n in by_size if n.verdict.startswith("overfits")],
        beside=beside[0] if beside else None,
    )


def brief_of(best: Configuration, small: Configuration) -> str:
    return TEXTS.brief(best, small)


def paragraphs_of(
    context: Context,
    networks: Sequence[Configuration],
    beside: Sequence[Configuration],
    verdicts: Mapping[str, SweepVerdict],
    pilots: Sequence[Run],
    no_pilot: int,
) -> list[str]:
    """How the answer was found. no_pilot: the number of networks without a finished pilot."""
    recipe = networks[0].runs[0].recipe
    out = [
        TEXTS.about_the_sweep(
            kernel=networks[0].convnet.kernel,
            blocks=any(n.convnet.block_depth > 1 for n in networks),
            hidden=list(dict.fromkeys(n.convnet.hidden for n in networks if n.convnet.hidden)),
            unhidden=any(not n.convnet.hidden for n in networks),
            verdicts=verdicts,
        ),
        TEXTS.about_training(
            recipe=recipe,
            optimizer=OPTIMIZERS[recipe.optimizer],
            images=len(context.data.train),
            seeds=len({run.recipe.seed for n in networks for run in n.runs}),
            pilots=about_pilots(pilots, networks),
        ),
        TEXTS.about_verdicts(FALL, seeds_known=not isnan(networks[0].val_loss.seed_sd)),
    ]
    if beside:
        other = beside[0].runs[0].recipe
        out.append(TEXTS.about_the_network_beside(beside[0], other, OPTIMIZERS[other.optimizer]))
    if no_pilot:
        out.append(TEXTS.about_networks_without_a_pilot(no_pilot))
    return out


def about_pilots(pilots: Sequence[Run], networks: Sequence[Configuration]) -> str:
    """How learning rates were chosen, from the pilots that there are."""
    if not pilots:
        return TEXTS.no_pilot()
    tried = {run.recipe.model for run in pilots}
    return TEXTS.pilots(
        pilot=pilots[0].recipe,
        rates=sorted({run.recipe.lr for run in pilots}),
        between=any(n.model not in tried for n in networks),
    )
