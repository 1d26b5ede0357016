"""What was measured of this machine is kept for it, so that the next study need not measure again.

A file in the cache holds it, named by what the figures depend on: processor, cores, quota, versions
of torch and of the kernels. On another machine, or after an update, there is another file. A file
that cannot be read is as good as none, and one that cannot be written is not missed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from convscope.data import cache_folder
from convscope.errors import UserError
from convscope.files import dump, parse_json, write_bytes
from convscope.machine.limits import cores, quota

FORM = 1  # of the figures; what measures them otherwise takes another number

MOST = 2_000  # figures in a file; the oldest go

T = TypeVar("T")


@functools.cache
def circumstances() -> dict[str, Any]:
    """What the figures depend on."""
    from convscope.machine.description import processor
    from convscope.training import kernels_identity

    return {
        "form": FORM,
        "processor": processor(),
        "system": sys.platform,
        "torch": version("torch"),
        "kernels": kernels_identity(),
    }


def place() -> Path:
    """The file of this machine, as it is now."""
    about = {
        **circumstances(),
        "cores": cores(),
        "quota": quota(),
        "switch": os.environ.get("CONVSCOPE_KERNELS", ""),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }
    return cache_folder() / "machine" / f"{hashlib.sha256(dump(about)).hexdigest()[:16]}.json"


def known_figures() -> dict[str, Any]:
    """All that is kept of this machine, by name."""
    try:
        tree = parse_json(place().read_bytes())
    except (OSError, UserError):
        return {}
    return tree if isinstance(tree, dict) else {}


def keep(figures: Mapping[str, Any]) -> None:
    """Add plain JSON values by name, or put them in the place of older ones."""
    known = {name: value for name, value in known_figures().items() if name not in figures}
    kept = list({**known, **figures}.items())[-MOST:]
    with contextlib.suppress(OSError):
        place().parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place(), dump_in_order(dict(kept)), sync=False)


def dump_in_order(figures: dict[str, Any]) -> bytes:
    import json

    return (json.dumps(figures, indent=1, allow_nan=False) + "\n").encode()


def forget() -> None:
    """Have everything measured again."""
    with contextlib.suppress(OSError):
        place().unlink()


def recalled(
    name: str,
    measure: Callable[[], T],
    read: Callable[[dict[str, Any]], T],
    measuring: Callable[[], None] = lambda: None,
) -> T:
    """A figure that is kept, or else a measurement now, which is kept.

    name: of the figure.
    measure: measures it; returns a dataclass of plain values.
    read: makes that of its fields; raises TypeError, ValueError or KeyError where they don't fit.
    measuring: is called before something is measured.
    """
    tree = known_figures().get(name)
    if isinstance(tree, dict):
        with contextlib.suppress(TypeError, ValueError, KeyError):
            return read(tree)
    measuring()
    found = measure()
    keep({name: asdict(found)})  # pyright: ignore[reportArgumentType]
    return found
