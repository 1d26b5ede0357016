"""The house keeps its measures: line, function and file lengths, and names that mean one thing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "convscope"
COLUMNS, FILE_LINES, FUNCTION_LINES, MOST_SKIPS = 100, 400, 60, 10
SOURCES = sorted(
    path
    for folder in ("convscope", "tests", "bench")
    for path in (TOP / folder).rglob("*")
    if path.suffix in {".py", ".c", ".h", ".jinja", ".css", ".js"} and ".venv" not in path.parts
)
FOLDERS = sorted({path.parent for path in SOURCES})
PYTHON = [path for path in SOURCES if path.suffix == ".py"]
PACKAGES = [path.parent for path in PACKAGE.rglob("__init__.py")]


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_lines_files_and_functions_are_short(folder: Path) -> None:
    faults = []
    for path in (path for path in SOURCES if path.parent == folder):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        faults += [
            f"{name_of(path)}:{i}: a line over {COLUMNS} columns"
            for i, line in enumerate(lines, 1)
            if len(line) > COLUMNS
        ]
        if len(lines) > FILE_LINES:
            faults.append(f"{name_of(path)}: {len(lines)} lines")
        for node in functions(ast.parse(text)) if path.suffix == ".py" else ():
            span = (node.end_lineno or 0) - node.lineno + 1
            if span > FUNCTION_LINES:
                faults.append(f"{name_of(path)}: {node.name}, {span} lines")
    assert not faults


def test_little_is_kept_from_the_formatter() -> None:
    mark = "fmt: " + "skip"
    assert sum(path.read_text(encoding="utf-8").count(mark) for path in PYTHON) <= MOST_SKIPS


@pytest.mark.parametrize("folder", PACKAGES, ids=name_of)
def test_no_public_name_is_that_of_a_module_beside_it(folder: Path) -> None:
    modules = {path.stem for path in folder.glob("*.py")}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    public: set[str] = set()
    for node in ast.walk(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module not in (
            "__future__",
            "convscope.chapters",
        ):
            public |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            public.add(node.name)
    assert not modules & public, "import convscope.x must not hide convscope.x()"
