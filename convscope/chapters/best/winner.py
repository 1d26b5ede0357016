"""Pictures of the winner: confusion matrix, mistakes, filters and feature maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convscope.chapters.best.clock import threads
from convscope.errors import UserError, one_line
from convscope.models import ConvNetModule
from convscope.planning import Context
from convscope.report import Chart, Gallery, pictures, search_charts
from convscope.statistics import Configuration
from convscope.training import check_device, network, place, predict, resident
from convscope.words import count

MOST_MISTAKES, MOST_FILTERS, MOST_MAPS = 12, 32, 8


def pictures_of(
    context: Context, winner: Configuration
) -> tuple[list[Chart], list[Gallery], list[str]]:
    """Confusion matrix; mistakes, filters and feature maps; and paragraphs.

    Where the winner's weights cannot be read, a paragraph says so and there are no pictures.
    """
    run = winner.run
    try:
        check_device(run.recipe.device)
        net = network(run, data=context.data)
        inputs = resident(run.recipe, data=context.data)
    except UserError as error:
        return [], [], [f"Pictures. The winner's are left out: {one_line(error)}."]
    with threads(run.recipe):
        example = inputs.inputs("test", slice(0, 1)).float().cpu()
        looks = [filters(net), feature_maps(net, example, context)]

        def answers() -> dict[str, Any]:
            return answers_of(
                predict(place(net, run.recipe), inputs, "test", run.recipe).double().cpu(),
                context.data.test.labels,
            )

        known = context.computed("answers of the winner", run, answers)
    names = class_names(context)
    galleries = [
        gallery
        for gallery in (mistakes(known["mistakes"], names, context), *looks)
        if gallery is not None
    ]
    return [confusion_chart(known["counts"], names, winner)], galleries, []


def answers_of(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """As plain JSON, from logits (images × classes) and labels (images).

    "counts": [true class, predicted class, images] for each pair of classes that occurs.
    "mistakes": [image, predicted class, probability], the wrong predictions of highest
    probability.
    """
    size = logits.shape[1]
    sure, predicted = logits.softmax(1).max(1)
    table = torch.bincount(labels * size + predicted, minlength=size * size).view(size, size)
    wrong = (predicted != labels).nonzero().flatten()
    worst = wrong[sure[wrong].argsort(descending=True, stable=True)][:MOST_MISTAKES].tolist()
    return {
        "counts": [[*place, int(table[*place])] for place in table.nonzero().tolist()],
        "mistakes": [[i, int(predicted[i]), float(sure[i])] for i in worst],
    }


def class_names(context: Context) -> list[str]:
    """Names of the classes, one line each, all different."""
    names = [one_line(name, 40) for name in context.data.classes]
    count = Counter(names)
    return [f"{name} ({i})" if count[name] > 1 else name for i, name in enumerate(names)]


def confusion_chart(
    counts: Sequence[tuple[int, int, int]], names: Sequence[str], winner: Configuration
) -> Chart:
    """counts: (true class, predicted class, images), where there are any; names: classes."""
    size = len(names)
    table = torch.zeros(size, size, dtype=torch.int64)
    for true, predicted, images in counts:
        table[true, predicted] = images
    whole = table.sum(1).clamp(min=1)
    rows = [
        {
            "true": names[i],
            "predicted": names[j],
            "count": int(table[i, j]),
            "share": float(table[i, j] / whole[i]),
        }
        for i in range(size)
        for j in range(size)
        if size <= search_charts.MOST_TEXT or table[i, j]  # of many classes only what occurs
    ]
    right = int(table.diagonal().sum())
    off = table.clone().fill_diagonal_(0)
    worst = divmod(int(off.argmax()), size)
    often = count(int(off.max()), "time")
    most = (
        f" The most frequent mistake: {names[worst[0]]} taken for {names[worst[1]]}, {often}."
        if off.any()
        else ""
    )
    return Chart(
        "confusion",
        "Confusion matrix of the winner on the test images",
        search_charts.confusion(rows, names),
        f"{right:,} of {int(table.sum()):,} test images are classified right by {winner.label} "
        f"(seed {winner.run.recipe.seed}).{most}",
        "A row per true class, a column per predicted one. "
        "Numbers count test images, colours are shares of the row.",
    )


def mistakes(
    worst: Sequence[tuple[int, int, float]], names: Sequence[str], context: Context
) -> Gallery | None:
    """The wrong predictions of highest probability; None where there are none.

    worst: (image, predicted class, probability) of each.
    names: names of the classes.
    """
    if not worst:
        return None
    labels = context.data.test.labels
    items = tuple(
        (
            pictures.image(context.data.test.images[i]),
            f"{names[predicted]} {100 * sure:.0f} %; is {names[int(labels[i])]}",
        )
        for i, predicted, sure in worst
    )
    return Gallery(
        "mistakes",
        "The winner's most confident mistakes",
        items,
        f"The {len(items)} test images that the winner classifies wrongly with the highest "
        f"probability: {'; '.join(text for _, text in items)}.",
        "Below each: the predicted class with its probability, and the class that the data set "
        "gives. Now and then the label is wrong.",
    )


def filters(net: nn.Module) -> Gallery | None:
    """The kernels of the first convolution, on one scale."""
    conv = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if conv is None:
        return None
    weight = conv.weight.detach().float().cpu()  # filters × channels × rows × columns
    largest = float(weight.abs().max())
    items = tuple(
        (pictures.signed(kernel, largest, side=48), str(i))
        for i, kernel in enumerate(weight[:MOST_FILTERS], 1)
    )
    rows, columns = weight.shape[2:]
    colour = (
        "in colour around grey"
        if weight.shape[1] == 3
        else "blue negative, orange positive"
        + ("" if weight.shape[1] == 1 else ", first channel only")
    )
    return Gallery(
        "filters",
        "First-layer filters",
        items,
        f"{len(items)} of {len(weight)} kernels of the winner's first convolution, "
        f"{rows}×{columns} pixels each, {colour}.",
        f"Kernels of {rows}×{columns} pixels, {colour}; all on one scale.",
        width=48,
    )


def feature_maps(net: nn.Module, example: Tensor, context: Context) -> Gallery | None:
    """What the first and the last block make of the first test image."""
    if not isinstance(net, ConvNetModule):
        return None
    outputs: list[Tensor] = []
    with torch.no_grad():
        x = net.stem(net.pixels(example))
        for block in net.blocks:
            x = block(x)
            outputs.append(x[0])
    shown = [(1, outputs[0])] + ([(len(outputs), outputs[-1])] if len(outputs) > 1 else [])
    items = [(pictures.image(context.data.test.images[0]), "the image")]
    for number, maps in shown:
        items += [
            (pictures.map_of(plane), f"block {number}, map {i}")
            for i, plane in enumerate(maps[:MOST_MAPS], 1)
        ]
    sizes = " and ".join(
        f"{maps.shape[1]}×{maps.shape[2]} behind block {number}" for number, maps in shown
    )
    return Gallery(
        "feature_maps",
        "Feature maps of the first and the last block"
        if len(shown) > 1
        else "Feature maps of the only block",
        tuple(items),
        f"The first test image and up to {MOST_MAPS} feature maps of each block, "
        f"of {sizes} pixels, behind activation and pooling.",
        "Each map from black (its lowest value) to white (its highest).",
    )
