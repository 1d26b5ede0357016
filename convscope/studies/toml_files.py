"""Questions as TOML files: read strictly, with a suggestion for a misspelt key, and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope.errors import UserError, did_you_mean, one_line

MOST_BYTES = 1_000_000


def read_toml(path: Path | str) -> dict[str, Any]:
    """The content of a TOML file in UTF-8, of at most a megabyte.

    Raises UserError, with line and column where the syntax is wrong.
    """
    path = Path(path)
    shown = f"file {one_line(path)}"
    try:
        if not path.is_file():
            raise UserError(f"{shown}: {'not a file' if path.exists() else 'no such file'}")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"{shown}: {size:,} bytes; at most {MOST_BYTES:,} are expected")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{shown}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{shown}: not UTF-8 at byte {error.start}") from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{shown}: not TOML: {one_line(error)}") from None


def check_keys(tree: Mapping[str, Any], known: Collection[str], place: str = "") -> None:
    """UserError for a key that nothing reads, with the nearest one that something does.

    tree: a table of the file.
    known: the keys that are read.
    place: the table's name, for the message.
    """
    for key in tree:
        if key not in known:
            inside = f" in [{place}]" if place else ""
            raise UserError(f"unknown key {one_line(key)!r}{inside}{did_you_mean(key, known)}")


def toml_of(tree: Mapping[str, Any]) -> str:
    """A TOML text of plain values and tables, which `read_toml` reads as the same; None is left
    out.
    """
    return "\n".join(lines_of(tree, ())).strip() + "\n"


def lines_of(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table: its values first, then the tables below it."""
    below = [key for key, value in tree.items() if is_table(value)]
    for key, value in tree.items():
        if key not in below and value is not None:
            yield f"{key_of(key)} = {value_of(value)}"
    for key in below:
        inner = (*path, key)
        name = ".".join(map(key_of, inner))
        parts = tree[key] if isinstance(tree[key], list) else [tree[key]]
        for part in parts:
            yield ""
            yield f"[[{name}]]" if isinstance(tree[key], list) else f"[{name}]"
            yield from lines_of(part, inner)


def is_table(value: Any) -> bool:
    """Whether a value is written as a table, or as a list of tables."""
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)
    )


def key_of(key: str) -> str:
    plain = key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
    return key if plain else text_of(key)


def text_of(text: str) -> str:
    """A basic string; JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def value_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, float):
        text = repr(value)
        return text if any(c in text for c in ".en") else f"{text}.0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key_of(k)} = {value_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(value_of, value)) + "]"
    raise TypeError(f"{type(value).__name__} cannot be written as TOML")
