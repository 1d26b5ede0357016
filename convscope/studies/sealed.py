"""study.json or sweep.json as JSON, checked against its seal; nothing heavy is imported for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line
from convscope.files import parse_json, seal


def read_sealed(root: Path, name: str = "study.json") -> dict[str, Any] | None:
    """The content of a study's study.json; None where there is none.

    root: the study's folder.
    name: the file's; a sweep's is sweep.json.

    Raises UserError where it cannot be read or was altered.
    """
    path, shown = root / name, f"{name.removesuffix('.json')} {one_line(root)}"
    if not path.exists():
        return None
    try:
        tree = parse_json(path.read_bytes())
    except (UserError, OSError) as error:
        why = one_line(error)
        raise UserError(f"{shown}: {name} cannot be read: {why}") from None
    if not isinstance(tree, dict) or tree.get("seal") != seal(tree):
        raise UserError(f"{shown}: {name} was altered")
    return tree
