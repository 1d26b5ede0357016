"""A recipe's model becomes a network in plain PyTorch; exact sizes; the networks of the literature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.models.building import build as build
    from convscope.models.convnet import ConvNetModule as ConvNetModule
    from convscope.models.layers import ORDERS as ORDERS
    from convscope.models.layers import Whiten as Whiten
    from convscope.models.named import parse_model as parse_model
    from convscope.models.sizes import parameters_of as parameters_of
    from convscope.models.sizes import size_of as size_of

_HOMES = {
    "ConvNetModule": "convnet",
    "ORDERS": "layers",
    "Whiten": "layers",
    "build": "building",
    "parameters_of": "sizes",
    "parse_model": "named",
    "size_of": "sizes",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
