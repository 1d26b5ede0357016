"""Files that are read strictly and written whole: JSON without duplicates and NaN, atomic writes, seals."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line


def parse_json(raw: bytes) -> Any:
    """Strict JSON: UserError with line and column for anything that JSON or a careful reader would not accept."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise UserError("empty")

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in pairs:
            if key in tree:
                raise UserError(f"key {one_line(key)!r} stands twice")
            tree[key] = value
        return tree

    def refuse(token: str) -> Any:
        raise UserError(f"{token} is not a JSON number")

    def finite(token: str) -> float:
        if not math.isfinite(float(token)):
            raise UserError(f"{token} is beyond the range of numbers")
        return float(token)

    try:
        return json.loads(
            text, object_pairs_hook=no_duplicates, parse_constant=refuse, parse_float=finite
        )
    except json.JSONDecodeError as error:
        raise UserError(
            f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise (
            error
            if isinstance(error, UserError)
            else UserError("not a recipe: nested or numbered too deep")
        ) from None


def seal(result: dict[str, Any]) -> str:
    """Finds accidents and edits, not forgers."""
    return hashlib.sha256(dump({k: v for k, v in result.items() if k != "seal"})).hexdigest()


def set_aside(path: Path, why: str) -> Path:
    """Rename what can't be trusted, so that it is never used and never lost."""
    aside = path.with_name(f"{path.name}.set-aside-{time.time_ns()}")
    path.rename(aside)
    write_bytes(aside.with_name(aside.name + ".why"), (one_line(why, 1000) + "\n").encode())
    return aside


def dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes, sync: bool = True) -> None:
    """Write beside, sync, rename, sync the folder: the old content or the new one, never a torn one. Without `sync` so only as long as the machine has power:
    for what can be made again."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    part.replace(path)
    if sync and os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
