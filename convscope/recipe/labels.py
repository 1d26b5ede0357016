"""Short names of networks for tables, charts and progress lines."""

from __future__ import annotations

import json

from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression

NORMS = {"batch": "batch norm", "group": "group norm", "affine": "affine instead of norm"}

POOLS = {"avg": "average pooling", "stride": "strided pooling", "none": "no pooling"}


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
    parts = [f"width {model.width}", f"depth {model.depth}{blocks}"]
    if model.growth != 2 and model.depth > 1:
        parts.append(f"growth {model.growth:g}")
    if model.kernel != 3:
        parts.append(f"{model.kernel}×{model.kernel}")
    if model.dilations:
        alike = len(set(model.dilations)) == 1
        shown = model.dilations[:1] if alike else model.dilations
        parts.append(f"dilation {'+'.join(map(str, shown))}")
    if model.norm != "none":
        parts.append(NORMS[model.norm])
    if model.skip and model.block_depth > 1:
        parts.append("skip")
    if model.pool_at == "first" and model.pool != "none":
        parts.append("early pooling")
    if model.stem == "whiten":
        parts.append("whitened")
    if model.activation != "relu":
        parts.append("no activation" if model.activation == "identity" else model.activation)
    if model.pool != "max":
        parts.append(POOLS[model.pool])
    if model.head == "gap":
        parts.append("GAP")
    if model.order != "natural":
        parts.append(f"order {model.order}")
    if model.pixels != "natural":
        parts.append("pixels permuted")
    return ", ".join(parts)


def call_of(model: Custom) -> str:
    """A user's network as a call: "nets:make(width=8)"; its factory alone without arguments."""
    told = (f"{name}={json.dumps(value)}" for name, value in model.arguments.items())
    return f"{model.factory}({', '.join(told)})" if model.arguments else model.factory


def hidden_of(model: ConvNet) -> str:
    """The fully connected layers before the classifier: "256", "256 and 128", "none"."""
    return " and ".join(map(str, model.hidden)) or "none"
