"""An annex: compiled kernels and faster operations for the networks of models/."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.fast.compiler import build_ahead as build_ahead
    from convscope.fast.compiler import identity as identity
    from convscope.fast.shared_library import are_threaded as are_threaded
    from convscope.fast.shared_library import description_of as description_of
    from convscope.fast.shared_library import why_not as why_not
    from convscope.fast.twins import accelerate as accelerate

_HOMES = {
    "accelerate": "twins",
    "are_threaded": "shared_library",
    "build_ahead": "compiler",
    "description_of": "shared_library",
    "identity": "compiler",
    "why_not": "shared_library",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
