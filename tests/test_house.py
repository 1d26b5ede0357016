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
PYTHON = [path for path in SOURCES if path.suffix == ".py"]
PACKAGES = [path.parent for path in PACKAGE.rglob("__init__.py")]


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_lines_and_files_are_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    long = [i for i, line in enumerate(lines, 1) if len(line) > COLUMNS]
    assert not long, f"lines over {COLUMNS} columns: {long}"
    assert len(lines) <= FILE_LINES, f"{len(lines)} lines"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spans = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(tree)}
    assert not {name: span for name, span in spans.items() if span > FUNCTION_LINES}


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
