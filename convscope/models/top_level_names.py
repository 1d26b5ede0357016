"""The names that a user's module can have, read from its source: no line of it runs."""

from __future__ import annotations

import ast
from pathlib import Path

from convscope.errors import UserError, did_you_mean, one_line
from convscope.models.sources import file_of, is_own, look_beside_the_prompt

# a module that uses one of these may have names that its source does not show
DYNAMIC = {"exec", "eval", "globals", "locals", "vars", "setattr", "modules", "__dict__"}


def check_factory_name(factory: str) -> None:
    """UserError where the source of a user's module shows that it has no such name.

    factory: as "module:name". Installed modules are not looked at, nor those whose names are made
    while they run: what these lack is found when they are imported.
    """
    look_beside_the_prompt()
    module, _, name = factory.partition(":")
    file = file_of(module)
    known = names_of(file) if file is not None and is_own(file) else None
    if known is not None and name not in known:
        public = sorted(one for one in known if not one.startswith("_"))
        raise UserError(
            f"model {one_line(factory)!r}: {one_line(module)} has no {one_line(name)!r}"
            f"{did_you_mean(name, public)}"
        )


def names_of(file: Path) -> set[str] | None:
    """All names that a source file binds anywhere; None where others may come while it runs."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return None
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=str(name)) | ast.AsyncFunctionDef(name=str(name)):
                found.add(name)
            case ast.ClassDef(name=str(name)) | ast.MatchAs(name=str(name)):
                found.add(name)
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {one.asname or one.name.partition(".")[0] for one in names}
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in DYNAMIC:
                return None
    if "*" in found or "__getattr__" in found:
        return None
    if file.name == "__init__.py":  # a module of the package becomes a name of it once imported
        found |= {path.stem for path in file.parent.iterdir()}
    return found
