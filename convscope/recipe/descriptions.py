"""What each field of a recipe means, read from the docstring that explains it."""

from __future__ import annotations

import inspect
import re


def described_fields(cls: type) -> dict[str, str]:
    """Field -> its sentence in the class's docstring ("name: text"); {} without docstrings.

    Python drops docstrings when it runs with -OO.
    """
    text = inspect.cleandoc(cls.__doc__ or "")
    entries = re.findall(r"^(\w+): (.*(?:\n {4}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join((said[0].upper() + said[1:]).split()) for name, said in entries}
