"""Networks of the literature and of the course, and how a model is named on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from convscope.errors import UserError, did_you_mean, one_line
from convscope.recipe import ConvNet, Custom, Model, SoftmaxRegression

# Each with its source. A model is named on the command line as one of these or as
# package.module:factory.
NAMED: dict[str, Callable[[], Model]] = {
    # multinomial logistic regression on pixels: 37–41 % on CIFAR-10 (Krizhevsky 2009)
    "softmax": SoftmaxRegression,
    # first architecture of the course: each convolution with ReLU and 2×2 max pooling, then fully
    # connected layers
    "course-1": lambda: ConvNet(width=32, depth=3, hidden=(128,)),
    # second architecture of the course: blocks of three convolutions, a skip connection in each,
    # one fully connected layer
    "course-2": lambda: ConvNet(width=32, depth=3, block_depth=3, skip=True),
    # the shallow networks of the course: 61,618 and 618 parameters on 3×32×32
    "shallow-flatten": lambda: ConvNet(width=6, depth=1, pool="none"),
    "shallow-gap": lambda: ConvNet(width=16, depth=1, pool="none", head="gap"),
    # five-layer CNN of Nakkiran et al. 2019 (Deep Double Descent, appendix B) at k = 64: 1,558,026
    # parameters
    "double-descent": lambda: ConvNet(width=64, depth=4, norm="batch", pool_sizes=(1, 2, 2, 8)),
}


def parse_model(text: str) -> Model:
    """A model from the command line.

    A known name, package.module:factory, or a name with changes as in `course-2,width=16`.
    """
    name, *changes = text.split(",")
    if ":" in name:
        return Custom(name, dict(parse_argument(change) for change in changes))
    if name not in NAMED and name != "convnet":
        raise UserError(
            f"model {one_line(name)!r}{did_you_mean(name, ['convnet', *NAMED])}; "
            "or package.module:factory"
        )
    model = ConvNet() if name == "convnet" else NAMED[name]()
    if not changes:
        return model
    if not isinstance(model, ConvNet):
        raise UserError(f"model {one_line(text)!r}: {name} has nothing to change")
    return replace(model, **dict(parse_change(model, change) for change in changes))


def parse_argument(change: str) -> tuple[str, object]:
    """name=value of a factory's argument; the value is JSON, or a text where it is not."""
    key, equals, value = change.partition("=")
    if not equals or not key.isidentifier():
        raise UserError(f"model option {one_line(change)!r}: write name=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parse_change(model: ConvNet, change: str) -> tuple[str, object]:
    key, equals, value = change.partition("=")
    known = vars(model)
    if not equals or key not in known:
        raise UserError(f"model option {one_line(change)!r}{did_you_mean(key, known)}")
    current = known[key]
    try:
        if isinstance(current, bool):
            return key, {"true": True, "false": False}[value.lower()]
        if isinstance(current, tuple):
            return key, tuple(int(item) for item in value.split("+") if item)
        return key, type(current)(value)
    except (KeyError, ValueError):
        expected = (
            "true or false"
            if isinstance(current, bool)
            else "sizes joined by +"
            if isinstance(current, tuple)
            else type(current).__name__
        )
        raise UserError(f"model option {one_line(change)!r}: {key} takes {expected}") from None
