"""Which parts are nonlinear, and what each buys: in words, from numbers."""

from __future__ import annotations

from collections.abc import Sequence

from convscope import planning as plans
from convscope.chapters.nonlinearity.collapses import Collapsed
from convscope.chapters.nonlinearity.plan import KINDS, MARGIN, kinds_of
from convscope.planning import Context
from convscope.probes.affine import Part
from convscope.recipe import ConvNet, hidden_of, label_of
from convscope.statistics import Configuration, Difference
from convscope.training import Run
from convscope.words import buys_or_costs, count, one_seed_caveat, percent, points


def words_on_size(verdicts: Sequence[str], seeds: int) -> str:
    within, differ = f"within ± {100 * MARGIN:g} points", verdicts.count("different")
    if differ:
        return f"; {differ} of {len(verdicts)} differ{'s' if differ == 1 else ''} from it and {'is' if differ == 1 else 'are'} not shown to be equivalent {within}"
    if "cannot tell" in verdicts:
        return f"; whether that is equivalent {within} can't be told from {count(seeds, 'seed')}"
    return f", equivalent {within}" + (
        ", so size does not help beyond that" if len(verdicts) > 1 else ""
    )


def and_join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentence_of(
    name: str,
    base: ConvNet,
    full: Configuration,
    drop: Difference,
    alone: dict[str, Difference],
    linears: Sequence[Configuration],
    softmax: Configuration | None,
    on_size: Sequence[str],
) -> str:
    kinds = and_join(kinds_of(base))
    size = buys_or_costs(drop).partition(" ")[2]  # without its sign
    text = f"On {name}, without its {kinds} the network ({label_of(base)}) {'falls' if drop.mean >= 0 else 'rises'} from {percent(full.test_accuracy)} test accuracy by {size}"
    if alone and len(kinds_of(base)) > 1:
        text += "; taking out one kind alone costs " + and_join(
            [f"{points(d)} for {kind}" for kind, d in alone.items()]
        )
    if softmax is not None and linears:
        low, high = (
            min(a.test_accuracy.mean for a in linears),
            max(a.test_accuracy.mean for a in linears),
        )
        ends = f"{100 * low:.1f}", f"{100 * high:.1f}"
        reached = f"{ends[0]} %" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]} %"
        text += f"; {count(len(linears), 'linear network')} reach{'es' if len(linears) == 1 else ''} {reached}, softmax regression {percent(softmax.test_accuracy)}"
        text += words_on_size(on_size, min(a.test_accuracy.n for a in (*linears, softmax)))
    return f"{text}{one_seed_caveat(drop.degrees)}."


def paragraphs_of(
    context: Context,
    base: ConvNet,
    full: Configuration,
    linear: Configuration,
    measured: Sequence[Part],
    done: dict[str, Collapsed],
    linears: Sequence[Configuration],
    softmax: Configuration | None,
    runs: Sequence[Run],
) -> list[str]:
    recipe = full.runs[0].recipe
    nonlinear = [part for part in measured if not part.affine]
    counts = {
        kind: sum(1 for p in nonlinear if KINDS.get(p.kind, p.kind) == kind)
        for kind in dict.fromkeys(KINDS.get(p.kind, p.kind) for p in nonlinear)
    }
    listed = ", ".join(f"{count} × {kind}" for kind, count in counts.items()) or "none"
    origin = (
        "the smallest network within one standard error of the capacity sweep's best"
        if base == plans.smallest_of_capacity(context)
        else "the preset's network"
    )
    seen = (
        f"{recipe.limit:,} training images"
        if recipe.limit
        else f"all {len(context.data.train):,} training images"
    )
    classes, pixels = (
        context.data.num_classes,
        context.data.in_shape[0] * context.data.in_shape[1] * context.data.in_shape[2],
    )
    out = [
        f"The network. {label_of(base)} with fully connected layers of {hidden_of(base)} units before the classifier, {origin}. Of its {len(measured)} parts {len(nonlinear)} "
        f"were measured to be nonlinear in training mode: {listed}.",
        f"Training. Each arm has a learning rate of its own, found by short pilots, and {count(recipe.epochs, 'epoch')} of {recipe.optimizer} with a one-cycle rate on {seen}, batches of {recipe.batch}, "
        f"{count(len(full.runs), 'seed')}. The replacement keeps shapes and the number of learnable parameters ({full.parameters:,} with, {linear.parameters:,} without).",
        f"Why. A composition of affine maps is affine: with all nonlinear parts gone, each of these networks is one map x ↦ W x + b with a W of {classes} × {pixels:,}, whatever its depth and width. "
        "It is contained in the class of softmax regression, and so its training loss can't go below softmax regression's convex optimum: growing it does not help. Its test accuracy may differ a little "
        "either way, by the path that training takes.",
    ]
    if done:
        worst = max(c.max_error for c in done.values())
        same = min((c.agreement for c in done.values() if c.agreement is not None), default=None)
        agree = f", with {100 * same:g} % of predictions equal" if same is not None else ""
        images = next(iter(done.values())).checked
        out.append(
            f"Collapse. {count(len(done), 'trained linear network')} {'was' if len(done) == 1 else 'were'} collapsed into W and b and compared on {images:,} test images, both sides in float64: the logits differ by {worst:.1e} of the largest at most{agree}."
        )
    best = max(arm.test_accuracy.mean for arm in (*linears, *([softmax] if softmax else [])))
    if context.data.name == "cifar10" and best < 0.6:
        out.append(
            "The studied report. It states a drop of 15 points, from 78 % to about 63 %, for a network without its nonlinear parts. "
            f"No affine map was found to reach that here (the best of {len(linears) + (softmax is not None)} affine models has {100 * best:.1f} %), "
            "so in that report something nonlinear must have stayed in."
        )
    failed = [run for run in runs if run.status != "finished"]
    if failed:
        out.append(
            f"Left out. {count(len(failed), 'run')} of the arms did not finish ({', '.join(sorted({run.status for run in failed}))}); their arms have fewer seeds, or none."
        )
    return out
