"""`convscope inspect` and `convscope probe`: networks and operators, without training."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from inspect import signature as signature_of
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli.options import Json, Model
from convscope.cli.printing import aside, show
from convscope.cli.refusals import refuse_factory, refuse_module, refuse_operator
from convscope.deployment.device_sizes import check_bits
from convscope.errors import UserError, one_line
from convscope.recipe import ConvNet

PLAIN = (1, 16, 16)  # what an operator of the user's is tried on where no shape is given
CLASSES = 10  # of a network that is probed

Input = Annotated[str, typer.Option(help="Channels × height × width.")]
Classes = Annotated[int, typer.Option(help="Number of classes.")]
Bits = Annotated[
    int | None,
    typer.Option(
        help="Show what the network needs on a device that computes with so many bits: bytes of "
        "weights, multiply-adds, peak memory of the feature maps."
    ),
]
Target = Annotated[str, typer.Argument(help="A built-in operator's name, or module:attribute.")]
Shape = Annotated[
    str | None,
    typer.Option(
        help="One sample's, channels first: 3x16x16 or 1x64.",
        show_default="1x16x16, or the operator's",
    ),
]
Seed = Annotated[int, typer.Option(help="Draws the inputs.")]


def inspect(
    model: Model,
    input: Input = "3x32x32",
    classes: Classes = 10,
    bits: Bits = None,
    as_json: Json = False,
) -> None:
    """Layers, parameters and FLOPs of a network; with --bits, what it needs on a device."""
    in_shape = sides(input, 65_536)
    if len(in_shape) != 3:
        raise UserError(
            f"input {one_line(input)!r}: write channels x height x width, as 3x32x32, "
            "each from 1 to 65,536"
        )
    if not 1 <= classes <= 1_000_000:
        raise UserError(f"classes = {classes}: must be from 1 to 1,000,000")
    if bits is not None:
        check_bits(bits)
    from convscope.models import check_sides, parse_model

    network, shape = parse_model(model), (in_shape[0], in_shape[1], in_shape[2])
    refuse_factory(network)
    if isinstance(network, ConvNet):
        check_sides(network, shape)
    from convscope.models import size_of

    with aside():
        size = size_of(network, shape, classes)
    if bits is None:
        show(size, as_json, asdict(size))
        return
    from convscope.deployment import device_fit

    with aside():
        fit = device_fit(network, shape, bits, num_classes=classes)
    show(f"{size}\n\n{fit}", as_json, {**asdict(size), "device": fit.to_json()})


def probe(target: Target, shape: Shape = None, seed: Seed = 0, as_json: Json = False) -> None:
    """Linear? Equivariant? A convolution? Measured."""
    if shape is not None and len(sides(shape, 4096)) not in (2, 3):
        raise UserError(
            f"shape {one_line(shape)!r}: write channels x height x width, as 3x16x16, "
            "or channels x length, as 1x64, each from 1 to 4,096"
        )
    if not 0 <= seed < 2**63:
        raise UserError(f"seed = {seed}: must be a whole number from 0 to 2⁶³ - 1")
    if ":" not in target:
        refuse_operator(target)
    given = None if shape is None else sides(shape, 4096)
    with aside():
        users = attribute_of(target, given or PLAIN) if ":" in target else None
        from convscope import probes
        from convscope.probes.operators import operator_named

        function, size = (users, PLAIN) if users is not None else operator_named(target)
        found = probes.probe(function, given or size, seed=seed)
    show(found, as_json, found.to_json())


def sides(text: str, most: int) -> tuple[int, ...]:
    """The numbers of a shape as 3x32x32; () where one is none or is not from 1 to `most`."""
    parts = text.lower().replace("×", "x").split("x")
    if not all(part.isdecimal() and 0 < int(part) <= most for part in parts):
        return ()
    return tuple(map(int, parts))


def attribute_of(target: str, shape: tuple[int, ...]) -> Any:
    """What module:attribute names; a class of modules is called without arguments.

    A factory of networks, as `train --model` takes it, is called with the shape and ten classes;
    its network is in evaluation mode.
    """
    module_name, _, name = target.partition(":")
    shown = f"target {one_line(target)!r}"
    refuse_module(target, shown)
    if module_name in sys.stdlib_module_names:  # it needs no care, and no torch
        module = importlib.import_module(module_name)
        if not hasattr(module, name):
            raise UserError(f"{shown}: {module_name} has no {one_line(name)!r}")
        refuse_uncallable(getattr(module, name), shown)
    from convscope.models import RAISED, build, fault, settings_kept
    from convscope.recipe import Custom

    sys.path.insert(0, str(Path.cwd()))
    try:
        with settings_kept():
            found = getattr(importlib.import_module(module_name), name)
            if len(shape) == 3 and is_factory(found):
                net = build(Custom(target), (shape[0], shape[1], shape[2]), CLASSES)
                net.eval()
                return net
            found = found() if isinstance(found, type) else found
    except UserError:
        raise
    except RAISED as error:  # the user's code: whatever it raises is named
        raise UserError(f"{shown}: {fault(error)}") from error
    refuse_uncallable(found, shown)
    return found


def refuse_uncallable(found: Any, shown: str) -> None:
    if not callable(found):
        raise UserError(
            f"{shown}: a {type(found).__name__} is not callable; name a function or a module of "
            "tensors"
        )


def is_factory(found: Any) -> bool:
    """Whether it takes (in_shape, num_classes) and cannot be called as an operator is.

    An operator is a function of one tensor, or a class that is called without arguments.
    """
    given = () if isinstance(found, type) else (None,)
    try:
        signature = signature_of(found)
    except (TypeError, ValueError):  # not every callable tells its parameters
        return False

    def binds(*values: object) -> bool:
        try:
            signature.bind(*values)
        except TypeError:
            return False
        return True

    return binds(None, None) and not binds(*given)
