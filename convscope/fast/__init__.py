"""An annex: compiled kernels and faster operations for the networks of models/."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.fast.library import at_hand as at_hand
    from convscope.fast.library import using as using
    from convscope.fast.library import why_not as why_not
    from convscope.fast.operations import MOST_INPUT_CHANNELS as MOST_INPUT_CHANNELS
    from convscope.fast.operations import FirstBlock as FirstBlock
    from convscope.fast.operations import GlobalPool as GlobalPool
    from convscope.fast.operations import Pool as Pool
    from convscope.fast.operations import activate as activate
    from convscope.fast.operations import batch_norm as batch_norm
    from convscope.fast.winograd import Convolution as Convolution
    from convscope.fast.winograd import by_winograd as by_winograd
    from convscope.fast.winograd import convolve as convolve
    from convscope.fast.winograd import input_gradient as input_gradient

_HOMES = {
    "Convolution": "winograd",
    "FirstBlock": "operations",
    "GlobalPool": "operations",
    "MOST_INPUT_CHANNELS": "operations",
    "Pool": "operations",
    "activate": "operations",
    "at_hand": "library",
    "batch_norm": "operations",
    "by_winograd": "winograd",
    "convolve": "winograd",
    "input_gradient": "winograd",
    "using": "library",
    "why_not": "library",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
