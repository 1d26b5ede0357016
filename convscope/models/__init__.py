"""A recipe's model as a network in plain PyTorch, its exact size, networks of the literature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.models.block import Block as Block
    from convscope.models.building import build as build
    from convscope.models.convnet import ConvNetModule as ConvNetModule
    from convscope.models.layers import Act as Act
    from convscope.models.layers import MaxPool as MaxPool
    from convscope.models.named import parse_model as parse_model
    from convscope.models.orders import ORDERS as ORDERS
    from convscope.models.sides import check_sides as check_sides
    from convscope.models.sizes import parameters_of as parameters_of
    from convscope.models.sizes import size_of as size_of
    from convscope.models.trust import UntrustedError as UntrustedError
    from convscope.models.trust import check_trusted as check_trusted
    from convscope.models.trust import trusting as trusting
    from convscope.models.whitened import WhitenedBlock as WhitenedBlock
    from convscope.models.whitened import WhitenedNet as WhitenedNet

_HOMES = {
    "Act": "layers",
    "Block": "block",
    "ConvNetModule": "convnet",
    "MaxPool": "layers",
    "ORDERS": "orders",
    "UntrustedError": "trust",
    "WhitenedBlock": "whitened",
    "WhitenedNet": "whitened",
    "build": "building",
    "check_sides": "sides",
    "check_trusted": "trust",
    "parameters_of": "sizes",
    "parse_model": "named",
    "size_of": "sizes",
    "trusting": "trust",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
