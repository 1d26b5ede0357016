"""Files that a user's factory reads: weights or settings beside its source.

Which they are is read from the source without running it: a text in what the factory uses that
names a file of a known kind below the factory's own folder. A text in a call that writes, as
torch.save(…, "best.pt"), is none of them. A name that is made while the factory runs is not found;
`models/opened.py` says so.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line

SUFFIXES = {
    *(".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".h5", ".hdf5", ".onnx", ".msgpack"),
    *(".npz", ".npy", ".pkl", ".pickle", ".joblib", ".mat"),
    *(".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".xml", ".prototxt"),
    *(".csv", ".tsv", ".txt"),
}

ENDINGS = tuple(SUFFIXES)

WRITING = {  # calls that write a file
    *("save", "savez", "savez_compressed", "savefig", "savetxt", "save_file", "save_model"),
    *("dump", "to_csv", "to_json", "write_text", "write_bytes", "imwrite", "imsave", "export"),
    *("mkdir", "makedirs", "unlink", "remove", "FileHandler"),
}

DIGITS = 12  # of the hash of a file

LONGEST = 250  # letters of a name

FRESH = 2.0  # seconds in which a file may change once more and keep its time

_digests: dict[Path, tuple[tuple[int, int, int], str]] = {}


def is_data(name: str | Path) -> bool:
    """Whether a file's name ends as those of weights and settings do."""
    return str(name).lower().endswith(ENDINGS)


def data_files(
    sources: Mapping[Path, str], factory: str, root: Path, arguments: Mapping[str, Any]
) -> list[Path]:
    """The files below `root` that a factory's source or its arguments name, in order.

    sources: the factory's own sources -> the first digits of each one's hash.
    factory: its name in the first of these.
    root: the factory's own folder.
    arguments: those that it is called with.
    """
    files = tuple(sources.items())
    texts = {*texts_in(files, factory), *((files[0][0], one) for one in texts_of(arguments))}
    found: set[Path] = set()
    for source in sources:
        here = [text for path, text in texts if path == source]
        above = [source.parent, *source.parent.parents]
        folders = [folder for folder in above if folder == root or root in folder.parents]
        for _ in range(2):  # folders below folders
            folders += [place for folder in folders for place in named_in(folder, here)]
            below = [
                folder for folder in dict.fromkeys(folders) if root in (folder, *folder.parents)
            ]
            folders = [folder for folder in below if folder.is_dir()]
        places = (place for folder in folders for place in named_in(folder, here))
        found.update(place for place in places if is_data(place) and place.is_file())
    return sorted(path for path in found if root in path.parents)


def named_in(folder: Path, texts: Iterable[str]) -> list[Path]:
    """What these texts name from a folder on, as far as its entries tell without a look at each."""
    try:
        entries = {*(entry.name for entry in folder.iterdir()), "..", "."}
    except OSError:
        return []
    kept = [text for text in texts if re.split(r"[/\\]", text, maxsplit=1)[0] in entries]
    return [Path(os.path.normpath(folder / text)) for text in kept]


def texts_of(value: object) -> Iterator[str]:
    """The texts in JSON values that may name files."""
    if isinstance(value, str):
        if is_name(value):
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts_of(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts_of(one)


def is_name(text: str) -> bool:
    """Whether a text may be the name of a file or folder."""
    return 0 < len(text) <= LONGEST and text.isprintable() and not set(text) <= {".", "/", " "}


@functools.lru_cache(maxsize=64)
def texts_in(sources: tuple[tuple[Path, str], ...], factory: str) -> frozenset[tuple[Path, str]]:
    """The texts in what a factory uses, each with the source that it stands in.

    What it uses: the definitions of its name, those of the names in these, and what runs when the
    sources are imported.
    """
    defined: dict[str, list[tuple[Path, ast.AST]]] = {}
    waiting = [factory]
    texts: set[tuple[Path, str]] = set()

    def look(path: Path, node: ast.AST) -> None:
        for part in read_in(node):
            if isinstance(part, ast.Constant):
                if isinstance(part.value, str) and is_name(part.value):
                    texts.add((path, part.value))
            elif isinstance(part, ast.Name):
                waiting.append(part.id)
            elif isinstance(part, ast.Attribute):
                waiting.append(part.attr)

    for path, _ in sources:
        for node in parsed(path):
            names = list(names_defined(node))
            for name in names:
                defined.setdefault(name, []).append((path, node))
            if not names and not is_main(node):
                look(path, node)
    known: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            for path, node in defined.get(name, ()):
                look(path, node)
    return frozenset(texts)


def parsed(path: Path) -> list[ast.stmt]:
    """The statements of a source; none where it is no Python."""
    try:
        return ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError, RecursionError):
        return []


def names_defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for part in (part for target in targets for part in ast.walk(target)):
            if isinstance(part, ast.Name):
                yield part.id


def is_main(node: ast.stmt) -> bool:
    """Whether it is `if __name__ == …`, which is not run by an import."""
    return isinstance(node, ast.If) and "__name__" in ast.dump(node.test)


def read_in(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, without the texts and numbers in calls that write a file."""
    waiting = [(node, False)]
    while waiting:
        node, written = waiting.pop()
        written = written or (isinstance(node, ast.Call) and writes(node))
        if not (written and isinstance(node, ast.Constant)):
            yield node
        waiting += [(child, written) for child in ast.iter_child_nodes(node)]


def writes(call: ast.Call) -> bool:
    """Whether a call writes a file, by its name or its mode."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name != "open":
        return name in WRITING
    modes = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    given = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    return any(isinstance(mode, str) and re.fullmatch("[wax][+bt]*", mode) for mode in given)


def digest_of(path: Path) -> str:
    """The first digits of a file's SHA-256; a file that is as it was is not read again.

    Raises UserError where it cannot be read.
    """
    try:
        info = path.stat()
        stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
        known = _digests.get(path)
        if known is None or known[0] != stamp:
            with open(path, "rb") as file:
                known = (stamp, hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS])
            if time.time() - info.st_mtime > FRESH:
                _digests[path] = known
    except OSError as error:
        raise UserError(f"{one_line(path)}: {error.strerror}; make it readable") from None
    return known[1]


def entries(found: Iterable[Path], root: Path) -> list[str]:
    """As sources are written: the path below the root, and the digits of the content."""
    return [f"{one_line(path.relative_to(root).as_posix())} {digest_of(path)}" for path in found]
