"""Networks that fit a device: the limits that a study is asked for, and the widest one inside."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convscope.deployment import Needs, needs_of, size_text
from convscope.errors import UserError
from convscope.planning.epochs import leaves_room
from convscope.recipe import ConvNet
from convscope.words import listed

if TYPE_CHECKING:
    from convscope.planning.context import Context


@dataclass(frozen=True)
class DeviceLimits:
    """What a device has room for; None: as much as is needed.

    ram: bytes of feature maps that are in memory at once.
    flash: bytes of weights.
    macs: multiply-adds of one image.
    bits: of weights and of values in feature maps.
    """

    ram: int | None
    flash: int | None
    macs: int | None
    bits: int = 8

    def hold(self, needs: Needs) -> bool:
        """Whether a network that needs so much fits."""
        pairs = (
            (self.ram, needs.peak_bytes),
            (self.flash, needs.weight_bytes),
            (self.macs, needs.macs),
        )
        return all(most is None or needed <= most for most, needed in pairs)

    def twice(self) -> DeviceLimits:
        """A device of twice the size in everything that was limited."""
        ram, flash, macs = (
            None if one is None else 2 * one for one in (self.ram, self.flash, self.macs)
        )
        return DeviceLimits(ram, flash, macs, self.bits)

    def __str__(self) -> str:
        told = [] if self.ram is None else [f"{size_text(self.ram)} of memory"]
        told += [] if self.flash is None else [f"{size_text(self.flash)} of flash"]
        told += [] if self.macs is None else [f"{self.macs:,} multiply-adds"]
        return listed(told)


def limits_of(context: Context) -> DeviceLimits | None:
    """What the study's device has room for; None where none was asked for."""
    search = context.search
    limits = DeviceLimits(search.ram, search.flash, search.macs, search.bits)
    return None if limits == replace(limits, ram=None, flash=None, macs=None) else limits


def needs(context: Context, model: ConvNet) -> Needs:
    """What a network of the family needs for the study's images, at the bits asked for."""
    data = context.data
    return needs_of(model, data.in_shape, data.num_classes, context.search.bits)


def fits_device(context: Context, model: ConvNet) -> bool:
    """Whether a network fits the device; every one does where none was asked for."""
    limits = limits_of(context)
    return limits is None or (
        leaves_room(model, context.data.in_shape) and limits.hold(needs(context, model))
    )


def widest(context: Context, model: ConvNet, limits: DeviceLimits, most: int) -> ConvNet | None:
    """The network with as many filters as fit, at most `most`; None where not even one does."""
    widths = range(1, most + 1)
    fitting = bisect.bisect_left(
        widths, True, key=lambda width: not limits.hold(needs(context, replace(model, width=width)))
    )
    return replace(model, width=fitting) if fitting else None


def smaller_kinds(model: ConvNet) -> Iterable[ConvNet]:
    """Kinds of a network that need less for the same width, ever smaller ones."""
    yield replace(model, block_depth=1, skip=False)
    model = replace(model, block_depth=1, skip=False, head="gap", hidden=())
    yield model
    yield replace(model, depth=1, pool_sizes=(), dilations=())


def within_limits(context: Context, model: ConvNet) -> ConvNet:
    """The network itself where it fits the device, else the widest of its kind that does.

    Where the whitening stem takes so much memory that twice the filters fit without it, or more,
    it is left out. Raises UserError where not even one filter fits.
    """
    limits = limits_of(context)
    if limits is None or limits.hold(needs(context, model)):
        return model
    plain = replace(model, stem="none")
    whole, without = (widest(context, one, limits, model.width) for one in (model, plain))
    if whole is not None and (without is None or without.width < 2 * whole.width):
        return whole
    kinds = (widest(context, kind, limits, model.width) for kind in smaller_kinds(plain))
    found = without or next((one for one in kinds if one is not None), None)
    if found is None:
        raise UserError(nothing_fits(context, limits, plain))
    return found


def nothing_fits(context: Context, limits: DeviceLimits, model: ConvNet) -> str:
    """What the smallest network of the search needs, beside what was asked for."""
    *_, last = smaller_kinds(model)
    one = needs(context, replace(last, width=1, kernel=min(3, last.kernel)))
    asked: list[str] = []
    smallest: list[str] = []
    for name, most, needed, shown in (
        ("ram", limits.ram, one.peak_bytes, size_text),
        ("flash", limits.flash, one.weight_bytes, size_text),
        ("macs", limits.macs, one.macs, "{:,}".format),
    ):
        if most is not None and needed > most:
            asked.append(f"{name} = {shown(most)}")
            smallest.append(f"{shown(needed)} ({needed})" if shown is size_text else shown(needed))
    shape = "×".join(map(str, context.data.in_shape))
    return (
        f"{', '.join(asked)}: no network of the search fits for {shape} images at {limits.bits} "
        f"bits; the smallest needs {listed(smallest)}"
    )
