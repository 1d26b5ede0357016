"""Short names of networks for tables, charts and progress lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression

# name in full, short name
NORMS = {
    "batch": ("batch norm", "bn"),
    "group": ("group norm", "gn"),
    "affine": ("affine instead of norm", "affine"),
}

POOLS = {
    "avg": ("average pooling", "avg"),
    "stride": ("strided pooling", "stride"),
    "none": ("no pooling", "no-pool"),
}


def label_of(model: Model) -> str:
    """As "width 16, depth 3×2, batch norm, skip".

    Width and depth are always named, other settings where they are not the plain network's: ReLU,
    3×3 kernels, max pooling, growth 2 and a flatten head.
    """
    if isinstance(model, SoftmaxRegression):
        return "softmax regression"
    if isinstance(model, Custom):
        return call_of(model)
    blocks = f"×{model.block_depth}" if model.block_depth > 1 else ""
    settings = (long for long, _ in _settings(model))
    return ", ".join([f"width {model.width}", f"depth {model.depth}{blocks}", *settings])


def short_label_of(model: Model) -> str:
    """The same as "C16·3×2 bn skip": C and the width, the depth, the block depth, settings.

    Fully connected layers before the classifier are named, too: "C16·3 h256+128".
    """
    if isinstance(model, SoftmaxRegression):
        return "softmax"
    if isinstance(model, Custom):
        return model.factory
    blocks = f"×{model.block_depth}" if model.block_depth > 1 else ""
    settings = (short for _, short in _settings(model))
    hidden = [f"h{'+'.join(map(str, model.hidden))}"] if model.hidden else []
    return " ".join([f"C{model.width}·{model.depth}{blocks}", *settings, *hidden])


def _settings(model: ConvNet) -> Iterator[tuple[str, str]]:
    """(in full, short) of each setting that is not the plain network's."""
    if model.growth != 2 and model.depth > 1:
        yield f"growth {model.growth:g}", f"g{model.growth:g}"
    if model.kernel != 3:
        yield f"{model.kernel}×{model.kernel}", f"k{model.kernel}"
    if model.dilations:
        alike = len(set(model.dilations)) == 1
        shown = "+".join(map(str, model.dilations[:1] if alike else model.dilations))
        yield f"dilation {shown}", f"d{shown}"
    if model.norm != "none":
        yield NORMS[model.norm]
    if model.skip and model.block_depth > 1:
        yield "skip", "skip"
    if model.pool_at == "first" and model.pool != "none":
        yield "early pooling", "early"
    if model.stem == "whiten":
        yield "whitened", "white"
    if model.activation != "relu":
        linear = model.activation == "identity"
        yield ("no activation", "no-act") if linear else (model.activation, model.activation)
    if model.pool != "max":
        yield POOLS[model.pool]
    if model.head == "gap":
        yield "GAP", "gap"
    if model.order != "natural":
        yield f"order {model.order}", f"order-{model.order}"
    if model.pixels != "natural":
        yield "pixels permuted", "permuted"


def call_of(model: Custom) -> str:
    """A user's network as a call: "nets:make(width=8)"; its factory alone without arguments."""
    told = (f"{name}={json.dumps(value)}" for name, value in model.arguments.items())
    return f"{model.factory}({', '.join(told)})" if model.arguments else model.factory


def hidden_of(model: ConvNet) -> str:
    """The fully connected layers before the classifier: "256", "256 and 128", "none"."""
    return " and ".join(map(str, model.hidden)) or "none"
