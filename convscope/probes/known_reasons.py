"""The built-in operators' names, and why each is what is known of it: without torch."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files


@functools.cache
def reasons() -> dict[str, str]:
    """Why each operator is what is known of it, in words, by its name."""
    text = (files("convscope.probes") / "reasons.toml").read_text(encoding="utf-8")
    return {name: " ".join(why.split()) for name, why in tomllib.loads(text).items()}
