"""What each field of a recipe means, read from the docstring that explains it."""

from __future__ import annotations

import inspect
import re


def described_fields(cls: type) -> dict[str, str]:
    """Field -> its sentence in the `Attributes` of the class's docstring; {} without docstrings.

    Python drops docstrings when it runs with -OO.
    """
    _, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
