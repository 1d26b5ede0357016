"""How many filters, layers and parameters: in words, from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convscope import planning as plans
from convscope.errors import one_line
from convscope.planning import Context
from convscope.recipe import ConvNet, hidden_of, label_of
from convscope.statistics import FALL, Configuration, Estimate
from convscope.training import Run


def kind_of(model: ConvNet, networks: Sequence[Configuration]) -> str:
    """The name of the sweep that a network belongs to: what it has beside its width, the fully connected layers where sweeps differ in them."""
    name = label_of(replace(model, width=1)).removeprefix("width 1, ")
    several = len({n.convnet.hidden for n in networks}) > 1
    return f"{name}, hidden {hidden_of(model)}" if several else name


def sweeps_among(networks: Sequence[Configuration]) -> dict[str, list[Configuration]]:
    """The networks of each sweep, ordered by width."""
    groups: dict[str, list[Configuration]] = {}
    for n in sorted(
        networks, key=lambda n: (n.convnet.depth, n.convnet.block_depth, n.convnet.width)
    ):
        groups.setdefault(kind_of(n.convnet, networks), []).append(n)
    return groups


def words_of_sweep(members: Sequence[Configuration], verdict: str, index: int | None) -> str:
    """The verdict on the networks of one sweep, with the width it names."""
    if verdict == "plateau" and index is not None:
        return f"plateau from width {members[index].convnet.width}"
    if verdict == "non-monotone" and index is not None:
        return f"non-monotone at width {members[index].convnet.width}"
    if verdict == "still improving":
        return f"still improving at width {members[-1].convnet.width}"
    if len(members) < 3:
        return f"cannot tell from {len(members)} width{'s' if len(members) > 1 else ''}"
    seeds = min(n.val_loss.n for n in members)
    return f"cannot tell from {seeds} seed{'s' if seeds > 1 else ''}"


def clause_of_sweep(verdict: str) -> str:
    """The verdict as the predicate of 'the validation loss …'."""
    kind, _, rest = verdict.partition(" width ")
    return {
        "plateau from": f"stops falling from width {rest} on",
        "non-monotone at": f"is not monotone: width {rest} is worse than a smaller one",
        "still improving at": f"is still falling at the largest width, {rest}",
    }.get(kind, f"allows no verdict on the sweep ({verdict})")


def percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} % ± {100 * (estimate.high - estimate.mean):.1f}"


def sentence_of(
    name: str,
    kind: str,
    best: Configuration,
    small: Configuration,
    beside: list[Configuration],
    networks: list[Configuration],
    verdict: str,
) -> str:
    parts = [
        f"On {one_line(name)} the validation loss at {kind} {clause_of_sweep(verdict)}; the best of {len(networks)} networks is {best.label} "
        f"({best.parameters:,} parameters, test accuracy {percent(best.test_accuracy)})"
    ]
    if small.model == best.model:
        parts.append("no smaller one is within one standard error of it")
    else:
        parts.append(
            f"the smallest within one standard error of it is {small.label} ({small.parameters:,} parameters, {percent(small.test_accuracy)})"
        )
    under = [n for n in networks if n.verdict == "underfits"]
    over = [n for n in networks if n.verdict.startswith("overfits")]
    parts.append(
        counted(
            under, "underfit", max(under, key=lambda n: n.parameters) if under else None, "largest"
        )
    )
    parts.append(
        counted(
            over, "overfit", min(over, key=lambda n: n.parameters) if over else None, "smallest"
        )
    )
    if beside:
        parts.append(
            f"beside the sweep {beside[0].label} reaches {percent(beside[0].test_accuracy)}"
        )
    return "; ".join(parts) + "."


def counted(
    found: Sequence[Configuration], verb: str, extreme: Configuration | None, which: str
) -> str:
    """How many networks underfit or overfit, and the one at the border."""
    if extreme is None:
        return f"none was found to {verb}"
    when = extreme.verdict.removeprefix(f"{verb}s").strip()
    named = f"{extreme.label}{f', {when}' if when else ''}"
    return (
        f"one {verb}s ({named})"
        if len(found) == 1
        else f"{len(found)} {verb}, the {which} of them {named}"
    )


def pilots_told(pilots: Sequence[Run], networks: Sequence[Configuration]) -> str:
    """How learning rates were chosen, from the pilots that there are."""
    if not pilots:
        return "No pilot finished, so the learning rate is the lowest of the preset."
    pilot = pilots[0].recipe
    seen = f"{pilot.limit:,} training images" if pilot.limit else "all training images"
    rates = sorted({run.recipe.lr for run in pilots})
    tried = {run.recipe.model for run in pilots}
    between = any(n.model not in tried for n in networks)
    whose = (
        "the narrowest and the widest network of each sweep"
        if between
        else "each network by itself"
    )
    rest = (
        " Networks between them have a rate between theirs: log rate lies on a straight line over log width."
        if between
        else ""
    )
    return (
        f"The learning rate was chosen for {whose}, from rates between {rates[0]:g} and {rates[-1]:g} (the table lists all): the one with the lowest validation loss after {pilot.epochs} "
        f"epoch{'s' if pilot.epochs > 1 else ''} on {seen} (seed {pilot.seed}), the grid extended where the best lay at an end.{rest} A short pilot favours rates that learn fast at first."
    )


def paragraphs_of(
    context: Context,
    networks: Sequence[Configuration],
    beside: Sequence[Configuration],
    words: dict[str, str],
    pilots: Sequence[Run],
    no_pilot: int,
) -> list[str]:
    recipe = networks[0].runs[0].recipe
    told = "; ".join(f"{kind}: {verdict}" for kind, verdict in words.items())
    hidden = [n.convnet for n in networks if n.convnet.hidden]
    blocks = [n.convnet for n in networks if n.convnet.block_depth > 1]
    kernel = networks[0].convnet.kernel
    layers = ", or ".join(dict.fromkeys(hidden_of(m) for m in hidden))
    images = (
        f"{recipe.limit:,} of the {len(context.data.train):,}"
        if recipe.limit
        else f"all {len(context.data.train):,}"
    )
    out = [
        f"The sweep. A network has blocks of {kernel}×{kernel} convolutions with ReLU, each block closed by 2×2 pooling and with twice the filters of the one before; width is the number of filters in "
        "the first block, depth the number of blocks"
        + (", and depth×n means n convolutions a block, with a skip connection" if blocks else "")
        + ". Then flatten"
        + (
            f", fully connected layers of {layers} units with ReLU{' (the plain sweeps; none after blocks)' if any(not n.convnet.hidden for n in networks) else ''}"
            if hidden
            else ""
        )
        + f", and the classifier. Verdicts by sweep: {told}.",
        f"Training. {recipe.epochs} epochs on {images} training images, {recipe.optimizer}, batches of {recipe.batch}, a constant learning rate and no "
        f"augmentation, so that nothing hides overfitting; {len({run.recipe.seed for n in networks for run in n.runs})} seeds. {pilots_told(pilots, networks)}",
        "Verdicts. A network overfits from epoch e if from there on its validation loss stays more than 2 standard errors above its minimum while its training loss "
        f"falls; it is undertrained if its training loss still falls by more than {100 * FALL:g} % an epoch; it underfits if it has converged with a small gap and a "
        "training loss more than 2 standard errors above that of the best network; otherwise it fits. The standard error joins the seeds' variance, pooled "
        "over the networks, with the sampling error of the evaluated set.",
    ]
    if beside:
        b = beside[0].runs[0].recipe
        m = beside[0].convnet
        out.append(
            f"Beside the sweep. One network of another kind, trained otherwise: {m.depth} blocks of {m.block_depth} convolutions with batch normalisation and a skip connection, "
            f"{b.epochs} epochs of {plans.OPTIMIZERS[b.optimizer]} with {plans.RATES[b.schedule]} {b.lr:g}, weight decay {b.weight_decay:g} and random flips{f' and shifts of up to {b.crop} pixels' if b.crop else ''}; "
            f"{len(beside[0].runs)} seed{'s' if len(beside[0].runs) > 1 else ''}. It is there for comparison and takes no part in the verdicts on the sweep."
        )
    if no_pilot:
        out.append(
            f"For {no_pilot} networks no pilot finished; they were trained at the lowest rate of the grid."
        )
    return out
