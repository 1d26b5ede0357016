"""What a user's factory is made of: its source file, those of its own that it imports, and the
files beside them that it reads.

They are found without running any of them, so that a run's identity costs no import.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from convscope.errors import UserError, one_line
from convscope.models.data_files import DIGITS, data_files, entries, is_data
from convscope.models.faults import INSTALLED, OURS
from convscope.recipe import Custom, Model

MOST_FILES = 2000

# modules as this process imported them: their spec, which a reload replaces, and their hash
_imported: dict[str, tuple[object, str]] = {}


def look_beside_the_prompt() -> None:
    """A user's own file in the current folder can be imported, as with python -m."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def with_sources(model: Model) -> Model:
    """A user's network with the hashes of its sources, by which a changed one is another network.

    Networks of convscope and those that have their hashes stay as they are; `check_sources` says
    whether these still hold.
    """
    if not isinstance(model, Custom) or model.sources:
        return model
    return replace(model, sources=sources_of(model.factory, model.arguments))


def check_sources(model: Custom) -> None:
    """UserError where a source is not what it was when the recipe was written or imported."""
    now = sources_of(model.factory, model.arguments)
    if model.sources and (changed := differences(model.sources, now)):
        raise UserError(
            f"model {model.factory!r}: its code changed since the recipe was written: {changed}; "
            "bring that code back, or leave the recipe's sources out to train today's"
        )


def differences(then: Iterable[str], now: Iterable[str]) -> str:
    """Which files differ, as "nets.py changed, layers.py is new"; empty where none does.

    A file of data is never new: recipes of older versions do not name any.
    """
    old, new = (dict(entry.rsplit(" ", 1) for entry in entries) for entries in (then, now))
    said = [f"{name} changed" for name in old if name in new and new[name] != old[name]]
    said += [f"{name} is gone" for name in old if name not in new]
    said += [f"{name} is new" for name in new if name not in old and not is_data(name)]
    return one_line(", ".join(said))


def sources_of(factory: str, arguments: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """For each source a name and the first digits of its SHA-256, as "nets.py 1f0e…", in order.

    They are the factory's file and those of its folder and package that it imports, directly or
    through others, and the files of weights and settings that these or the factory's arguments
    name (`data_files`). Of an installed package it is the version, of a notebook what the factory
    names there (`typed`). Empty for convscope's own, and where no source is to be had.
    """
    look_beside_the_prompt()
    module, _, name = factory.partition(":")
    file = file_of(module)
    if file is None:
        there = sys.modules.get(module)
        return typed(there, name) if isinstance(there, ModuleType) else ()
    if str(file).startswith(OURS):
        return ()
    if any(part in INSTALLED for part in file.parts):
        return (installed(module, file),)
    root = root_of(module, file)
    found = {path: digest(path) for path in imported_from(module, file, root)}
    read = data_files(found, name, root, arguments or {})
    named = [f"{one_line(path.relative_to(root).as_posix())} {one}" for path, one in found.items()]
    return tuple(sorted([*named, *entries(read, root)]))


def data_of(model: Custom) -> set[Path]:
    """The files of weights and settings that are part of what a user's network is."""
    module, _, name = model.factory.partition(":")
    own = own_files(model.factory)
    if not own:
        return set()
    root = root_of(module, next(iter(own)))
    return set(data_files({path: digest(path) for path in own}, name, root, model.arguments))


def root_of(module: str, file: Path) -> Path:
    """The folder that a module's package, or its file, lies in."""
    return file.parents[len(module.split(".")) - (file.name != "__init__.py")]


def own_files(factory: str) -> dict[Path, str]:
    """The files of the user's own that a factory is made of: path -> module's name."""
    module = factory.partition(":")[0]
    file = file_of(module)
    if file is None or not is_own(file):
        return {}
    return imported_from(module, file, root_of(module, file))


def is_own(file: Path) -> bool:
    """Whether a source is the user's own: neither convscope's nor an installed package's."""
    return not str(file).startswith(OURS) and not any(part in INSTALLED for part in file.parts)


def shipped(factory: str) -> set[Path]:
    """The packages and top-level files that another machine needs of a user's factory."""
    module = factory.partition(":")[0]
    file = file_of(module)
    if file is None:
        return set()
    root = root_of(module, file)
    parts = {root / path.relative_to(root).parts[0] for path in own_files(factory)}
    return {path for path in parts if path.is_dir() or path.suffix == ".py"}


def drop_old_bytecode(factory: str) -> None:
    """Remove compiled files of the factory's own that are older than their source.

    Python takes them for current where the source was changed within the same second and has the
    same length: the old network would be trained under the new one's id.
    """
    for path in own_files(factory):
        with contextlib.suppress(OSError, NotImplementedError):
            compiled = Path(importlib.util.cache_from_source(str(path)))
            if compiled.stat().st_mtime_ns < path.stat().st_mtime_ns:
                compiled.unlink()


def note_imported(factory: str) -> None:
    """Keep what the factory's modules were when they were imported.

    Raises UserError where a file has changed since: Python goes on with what it imported, and its
    results would be recorded as those of the new code.
    """
    for path, name in own_files(factory).items():
        if (there := sys.modules.get(name)) is None:
            continue
        now, known = (there.__spec__, digest(path)), _imported.get(name)
        if known is None or known[0] is not now[0]:
            _imported[name] = now
        elif known[1] != now[1]:
            raise UserError(
                f"model {factory!r}: {one_line(path.name)} changed since this process imported it; "
                f"start Python anew, or importlib.reload the module {name}"
            )


def typed(module: ModuleType, name: str) -> tuple[str, ...]:
    """The same for code without a file: a factory, and what it names in its module.

    These are functions and classes, as they were typed, and numbers and texts.
    """
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        thing = vars(module).get(name)
        if name in found or thing is None:
            continue
        if isinstance(thing, int | float | str | tuple):
            text = repr(thing)
        elif getattr(thing, "__module__", "") != module.__name__:
            continue
        else:
            parts = [thing, *vars(thing).values()] if isinstance(thing, type) else [thing]
            sources = [source for part in parts if (source := source_of(part))]
            text = "".join(sources)
            waiting += [name for source in sources for name in names_used(source)]
        found[name] = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    return tuple(sorted(f"{module.__name__}.{name} {digits}" for name, digits in found.items()))


def source_of(thing: object) -> str:
    """A function or class as it was typed, without its margin; empty where that is not known.

    Python (before 3.13) knows the methods of a class that was typed, and not the class.
    """
    if not isinstance(thing, type | FunctionType):
        return ""
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return ""


def names_used(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


def installed(module: str, file: Path) -> str:
    """An installed package and its version, or its file's hash where it has none."""
    top = module.partition(".")[0]
    try:
        return f"{top} {importlib.metadata.version(top).replace(' ', '')}"
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return f"{top} {digest(file)}"


def digest(path: Path) -> str:
    """The first digits of the SHA-256 of a text file, whose ends of lines do not count."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"source {one_line(path)}: {error.strerror}; make it readable") from None
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:DIGITS]


def file_of(module: str) -> Path | None:
    """The source of a module, imported or not; None where there is none."""
    there = sys.modules.get(module)
    if isinstance(there, ModuleType):
        given = getattr(there, "__file__", None)
    else:
        given = next(iter(found_in(module, None)), None)
    path = Path(given).absolute() if given else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def found_in(module: str, root: Path | None) -> Iterator[str]:
    """The file of a module that is not imported; `root`: below this folder alone."""
    top, *rest = module.split(".")
    if root is not None:
        folders = [root / top]
    else:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError, AttributeError):
            return
        if spec is None:
            return
        if not rest:
            yield from [spec.origin] if spec.origin else []
            return
        folders = [Path(place) for place in spec.submodule_search_locations or ()]
    for folder in folders:
        place = folder.joinpath(*rest)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                yield str(path)
                return


def imported_from(module: str, file: Path, root: Path) -> dict[Path, str]:
    """The file of a module and all files below `root` that it imports: path -> module's name."""
    found: dict[Path, str] = {}
    waiting = [(module, file)]
    while waiting and len(found) < MOST_FILES:
        name, path = waiting.pop()
        if path in found:
            continue
        found[path] = name
        for other in names_in(name, path):
            waiting += [(other, Path(one)) for one in found_in(other, root)]
    return found


def names_in(module: str, path: Path) -> Iterator[str]:
    """The modules that a file may import, with the packages around them.

    Of `from a import b` both a and a.b: b may be a module. Where a name is made while the file
    runs, as for import_module(f"nets.{name}"), they are all modules of its package. Nothing where
    the file is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            if start:
                yield from with_packages(start)
            for alias in node.names:
                yield f"{start}.{alias.name}" if start else alias.name
        elif isinstance(node, ast.Call) and name_called(node) in ("import_module", "__import__"):
            yield from imported_by_name(node, package, path)
    yield from (".".join(package[:i]) for i in range(1, len(package) + 1))


def name_called(call: ast.Call) -> str:
    """The name of what is called, without what stands before its last dot."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def imported_by_name(call: ast.Call, package: list[str], path: Path) -> Iterator[str]:
    """The modules that import_module or __import__ may import in a file of this package."""
    name = call.args[0] if call.args else None
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        dots = len(name.value) - len(name.value.lstrip("."))
        before = package[: len(package) - dots + 1] if dots else []
        yield from with_packages(".".join([*before, name.value[dots:]]))
    elif package:
        top = path.parents[len(package) - 1]
        for file in sorted(top.rglob("*.py"))[:MOST_FILES]:
            parts = file.relative_to(top.parent).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))
