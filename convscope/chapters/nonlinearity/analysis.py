"""Which parts are nonlinear, and what each buys: from runs to the finding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import nn

from convscope.chapters.nonlinearity.ablation import ablation_of, numbers_of, verdict_of
from convscope.chapters.nonlinearity.answers import change_of, headlines_of, nothing_told
from convscope.chapters.nonlinearity.charts import (
    arms_chart,
    arms_table,
    effects_chart,
    effects_table,
    parts_table,
)
from convscope.chapters.nonlinearity.collapses import (
    Collapsed,
    collapse_table,
    collapsed,
    spectrum_chart,
    templates,
)
from convscope.chapters.nonlinearity.optimum import optimum_of
from convscope.chapters.nonlinearity.plan import (
    MARGIN,
    QUESTION,
    TITLE,
    base_of,
    bases_of,
    kinds_of,
    preset_in,
    recipes_of,
    removed_from,
    without,
)
from convscope.chapters.nonlinearity.words import brief_of, no_answer, paragraphs_of, sentence_of
from convscope.data import Dataset
from convscope.errors import one_line
from convscope.models import build
from convscope.planning import Chapter, Context, Request, Wait, final_arms, rates_table, tuned_rates
from convscope.probes.affine import Part, parts
from convscope.recipe import ConvNet, Model, label_of
from convscope.report import Finding
from convscope.statistics import configurations, grouped
from convscope.training import Run


def measured_parts(model: ConvNet, data: Dataset) -> list[Part]:
    """The parts of a freshly built network in training mode; layers that do nothing are none.

    Each is measured in place, on inputs of the shapes that it gets there.
    """
    net = build(model, data.in_shape, data.num_classes).train()
    modules = dict(net.named_modules())
    return [part for part in parts(net, data.in_shape) if not is_identity(modules[part.name], part)]


def is_identity(module: nn.Module, part: Part) -> bool:
    """Whether a layer gives back its input, to the bit."""
    if not part.affine or part.in_shape != part.out_shape or any(True for _ in module.parameters()):
        return False
    x = torch.randn(2, *part.in_shape, generator=torch.Generator().manual_seed(0))
    return torch.equal(module(x), x)


def chapter(context: Context) -> Chapter:
    """The best network that can be afforded, and in large studies the winner, without parts."""
    yield Wait(needs=("capacity", "best"))
    preset, recipes = preset_in(context), recipes_of(context, bases_of(context))
    if len(context.chapters) > 1:  # beside runs of others: at the end none would go on
        with contextlib.suppress(Exception):  # which `finding` meets, too, when runs are there
            optimum_of(context, recipes[0])
    tuned = yield from tuned_rates(context, recipes, preset.rates)
    wanted = final_arms(context, recipes, tuned.rate, preset.seeds)
    answer = yield [Request(wanted, "final")]
    return finding(context, tuned.pilots, answer.of("final"))


# the finding


def is_arm(base: ConvNet, model: ConvNet) -> bool:
    """Whether `model` is `base` with some kinds taken out, or its linear network enlarged."""
    if model == without(base, removed_from(base, model)):
        return True
    return model.width > base.width and replace(model, width=base.width) == without(
        base, kinds_of(base)
    )


def split(models: Iterable[Model]) -> dict[ConvNet, list[ConvNet]]:
    """The ablated networks, in their order, with the networks that are arms of each.

    The network with the most nonlinear kinds, of several the narrowest, is no arm of another
    one: it is an ablated network. The same holds of those that are left without its arms.
    """
    nets = [model for model in dict.fromkeys(models) if isinstance(model, ConvNet)]
    found: dict[ConvNet, list[ConvNet]] = {}
    left = sorted(nets, key=lambda model: (-len(kinds_of(model)), model.width))
    while left:
        base = left[0]
        found[base] = [model for model in nets if is_arm(base, model)]
        left = [model for model in left if model not in found[base]]
    return dict(sorted(found.items(), key=lambda item: nets.index(item[0])))


def finding(context: Context, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    """What the ablations say; `pilots` are the short runs that chose the learning rates."""
    name = one_line(context.data.name)
    arms = configurations(grouped(runs, lambda run: run.recipe.model), context.data, label_of)
    # of all runs, failed ones too: else another arm would be taken for the ablated network
    ablated = split(run.recipe.model for run in (*pilots, *runs))
    members = {
        base: [arms[model] for model in models if model in arms] for base, models in ablated.items()
    }
    base = next(iter(ablated), None) or base_of(context)[0]
    ablation = ablation_of(base, members.get(base, []), arms)
    if ablation is None:
        return nothing_to_compare(name, base, base in arms, pilots)
    measured = measured_parts(base, context.data)
    collapses = {
        run.id: collapsed(context, run, preset_in(context).checked)
        for arm in ablation.linears
        for run in arm.runs
    }
    done = {key: found for key, found in collapses.items() if isinstance(found, Collapsed)}
    optimum = optimum_of(context, ablation.linear.recipe)
    tables = [parts_table(measured), effects_table(ablation), arms_table(arms, members)]
    if ablation.linears:
        tables.append(collapse_table(ablation.linears, collapses, ablation.against_softmax, MARGIN))
    return Finding(
        "nonlinearity",
        TITLE,
        QUESTION,
        verdict_of(ablation),
        sentence_of(name, ablation),
        numbers_of(ablation, measured, done, optimum, arms.values()),
        tables=[*tables, rates_table(pilots)],
        charts=[
            arms_chart(members[base], base, ablation.softmax),
            *effects_chart(ablation),
            *spectrum_chart(ablation.linears, collapses),
        ],
        paragraphs=paragraphs_of(context, ablation, measured, done, optimum, runs),
        galleries=templates(context, ablation.linear, ablation.softmax),
        brief=brief_of(ablation),
        headlines=headlines_of(ablation),
        change=change_of(ablation),
        lead="factorial",
        explains=("Why", "Softmax", "Bound", "Interaction"),
    )


def nothing_to_compare(name: str, base: ConvNet, trained: bool, pilots: Sequence[Run]) -> Finding:
    """The finding where the ablated network or its linear network is missing, or they are one."""
    sentence = no_answer(name, base, trained)
    tables = [rates_table(pilots)] if pilots else []
    told = nothing_told(trained and not kinds_of(base))
    return Finding(
        "nonlinearity", TITLE, QUESTION, "cannot tell", sentence, {}, tables, headlines=told
    )
