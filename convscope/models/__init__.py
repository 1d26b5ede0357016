"""A recipe's model as a network in plain PyTorch, its exact size, networks of the literature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.models.block import Block as Block
    from convscope.models.building import build as build
    from convscope.models.building import first_call as first_call
    from convscope.models.building import has_lazy_weights as has_lazy_weights
    from convscope.models.building import seed_others as seed_others
    from convscope.models.building import seeded as seeded
    from convscope.models.convnet import ConvNetModule as ConvNetModule
    from convscope.models.copies import copied as copied
    from convscope.models.copies import inner as inner
    from convscope.models.faults import RAISED as RAISED
    from convscope.models.faults import fault as fault
    from convscope.models.faults import is_networks as is_networks
    from convscope.models.faults import is_out_of_memory as is_out_of_memory
    from convscope.models.layers import Act as Act
    from convscope.models.layers import MaxPool as MaxPool
    from convscope.models.leaf_modules import PARAMETRIZATIONS as PARAMETRIZATIONS
    from convscope.models.leaf_modules import is_leaf as is_leaf
    from convscope.models.leaf_modules import leaves as leaves
    from convscope.models.leaf_modules import modules_of as modules_of
    from convscope.models.named import parse_model as parse_model
    from convscope.models.orders import ORDERS as ORDERS
    from convscope.models.settings import settings_kept as settings_kept
    from convscope.models.sides import check_sides as check_sides
    from convscope.models.sizes import Layer as Layer
    from convscope.models.sizes import parameters_of as parameters_of
    from convscope.models.sizes import size_of as size_of
    from convscope.models.sources import check_sources as check_sources
    from convscope.models.sources import shipped as shipped
    from convscope.models.sources import with_sources as with_sources
    from convscope.models.top_level_names import check_factory_name as check_factory_name
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
    "PARAMETRIZATIONS": "leaf_modules",
    "RAISED": "faults",
    "UntrustedError": "trust",
    "WhitenedBlock": "whitened",
    "WhitenedNet": "whitened",
    "build": "building",
    "check_factory_name": "top_level_names",
    "check_sides": "sides",
    "check_sources": "sources",
    "check_trusted": "trust",
    "copied": "copies",
    "fault": "faults",
    "first_call": "building",
    "has_lazy_weights": "building",
    "inner": "copies",
    "is_leaf": "leaf_modules",
    "is_networks": "faults",
    "is_out_of_memory": "faults",
    "leaves": "leaf_modules",
    "modules_of": "leaf_modules",
    "parameters_of": "sizes",
    "parse_model": "named",
    "seed_others": "building",
    "seeded": "building",
    "settings_kept": "settings",
    "Layer": "sizes",
    "size_of": "sizes",
    "trusting": "trust",
    "shipped": "sources",
    "with_sources": "sources",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
