"""Pictures of the winner: confusion matrix, mistakes, filters and feature maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.chapters.best.clock import threads
from convscope.errors import UserError, one_line
from convscope.models import ConvNetModule, WhitenedNet
from convscope.planning import Context
from convscope.report import Chart, Gallery, pictures
from convscope.report import search_charts as charts_search
from convscope.statistics import Configuration
from convscope.training import check_device, network, note_unreadable, place, predict, resident
from convscope.words import texts_beside

TEXTS, PICTURES = texts_beside(__file__), texts_beside(__file__, "pictures.jinja")

MOST_MISTAKES, MOST_FILTERS, MOST_MAPS, MOST_BLOCKS = 12, 32, 8, 4


def pictures_of(
    context: Context, winner: Configuration
) -> tuple[list[Chart], list[Gallery], list[str]]:
    """(confusion matrix, galleries, paragraphs): a paragraph where the weights cannot be read."""
    run = winner.run
    try:
        check_device(run.recipe.device)
        net = network(run, data=context.data)
        inputs = resident(run.recipe, data=context.data)
    except UserError as error:
        note_unreadable("pictures", run, error)
        return [], [], [TEXTS.no_pictures(one_line(error))]
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
    """How the winner answers, as plain JSON.

    counts: [true class, predicted class, images], where that is not 0.
    mistakes: [image, predicted class, probability], most probable first.
    logits: images × classes.
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
    """One line each, and different from each other."""
    names = [one_line(name, 40) for name in context.data.classes]
    count = Counter(names)
    return [f"{name} ({i})" if count[name] > 1 else name for i, name in enumerate(names)]


def confusion_chart(
    counts: Sequence[tuple[int, int, int]], names: Sequence[str], winner: Configuration
) -> Chart:
    """counts: (true class, predicted class, images), where that is not 0."""
    size = len(names)
    table = torch.zeros(size, size, dtype=torch.int64)
    for true, predicted, count in counts:
        table[true, predicted] = count
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
        if size <= charts_search.MOST_CLASSES_WITH_COUNTS
        or table[i, j]  # of many classes only what occurs
    ]
    right = int(table.diagonal().sum())
    off = table.clone().fill_diagonal_(0)
    worst = divmod(int(off.argmax()), size)
    return Chart(
        "confusion",
        "Confusion matrix of the winner on the test images",
        charts_search.confusion(rows, names),
        TEXTS.confusion_alt(
            right=right,
            images=int(table.sum()),
            winner=winner.label,
            seed=winner.run.recipe.seed,
            actual=names[worst[0]],
            predicted=names[worst[1]],
            times=int(off.max()),
        ),
        TEXTS.confusion_caption(),
    )


def mistakes(
    worst: Sequence[tuple[int, int, float]], names: Sequence[str], context: Context
) -> Gallery | None:
    """The wrong predictions with the highest probability.

    worst: (image, predicted class, probability).
    """
    if not worst:
        return None
    labels = context.data.test.labels
    items = tuple(
        (
            pictures.image(context.data.test.images[i]),
            TEXTS.mistake(names[predicted], sure, names[int(labels[i])]),
        )
        for i, predicted, sure in worst
    )
    return Gallery(
        "mistakes",
        "The winner's most confident mistakes",
        items,
        TEXTS.mistakes_alt([text for _, text in items]),
        TEXTS.mistakes_caption(),
    )


def filters(net: nn.Module) -> Gallery | None:
    """The kernels of the first convolution that is learned, on one scale.

    Behind a fixed whitening they are shown together with it, as what they compute from the pixels.
    """
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    stem = net.stem if isinstance(net, ConvNetModule | WhitenedNet) else None
    conv = next((one for one in convs if one is not stem), None)
    if conv is None:
        return None
    weight = conv.weight.detach().float().cpu()  # filters × channels × rows × columns
    whitened = False
    if isinstance(net, ConvNetModule) and isinstance(stem, nn.Conv2d):
        weight, whitened = together(stem, conv), True
    largest = float(weight.abs().max())
    items = tuple(
        (pictures.signed(kernel, largest, side=48), str(i))
        for i, kernel in enumerate(weight[:MOST_FILTERS], 1)
    )
    channels, rows, columns = weight.shape[1:]
    return Gallery(
        "filters",
        "Filters of the first learned layer" if whitened else "First-layer filters",
        items,
        PICTURES.filters_alt(len(items), len(weight), rows, columns, channels, whitened),
        PICTURES.filters_caption(rows, columns, channels, whitened),
        width=48,
    )


def together(first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """The kernels of two convolutions with nothing between them, as those of one.

    Filters × channels × rows × columns; strides of `first` are 1.
    """
    outer, inner = (one.weight.detach().float().cpu() for one in (second, first))
    (rows, columns), (down, along) = outer.shape[2:], second.dilation
    spread = outer.new_zeros(*outer.shape[:2], down * (rows - 1) + 1, along * (columns - 1) + 1)
    spread[:, :, ::down, ::along] = outer
    return F.conv_transpose2d(spread, inner)


def feature_maps(net: nn.Module, example: Tensor, context: Context) -> Gallery | None:
    """What the blocks make of the first test image: of many the first three and the last."""
    if not isinstance(net, ConvNetModule):
        return None
    outputs: list[Tensor] = []
    with torch.no_grad():
        x = net.stem(net.pixels(example))
        for block in net.blocks:
            x = block(x)
            outputs.append(x[0])
    shown = list(enumerate(outputs, 1))
    if len(shown) > MOST_BLOCKS:
        shown = [*shown[: MOST_BLOCKS - 1], shown[-1]]
    items = [(pictures.image(context.data.test.images[0]), "the image")]
    rows = []
    for number, maps in shown:
        rows.append(len(items))
        items += [
            (pictures.map_of(plane), f"block {number}, map {i}")
            for i, plane in enumerate(maps[:MOST_MAPS], 1)
        ]
    return Gallery(
        "feature_maps",
        "Feature maps through the cascade" if len(shown) > 1 else "Feature maps of the only block",
        tuple(items),
        PICTURES.maps_alt(MOST_MAPS, [(number, *maps.shape[1:]) for number, maps in shown]),
        PICTURES.maps_caption(),
        rows=tuple(rows),
    )
