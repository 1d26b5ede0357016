"""The notebook of examples/ runs from top to bottom, and is stored without outputs."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import convscope

NOTEBOOK = Path(__file__).parent.parent / "examples" / "assignment.ipynb"

# Run after the last cell, in the same kernel: what the notebook measured, and whether executing
# it again would train anything.
FACTS = """
import json, time

arms_of_all = (capacity, candidates, arms, fields, orders)
stored = {path: path.stat().st_mtime_ns for path in ROOT.rglob("result.json")}
begin = time.perf_counter()
for run in [run for some in arms_of_all for runs in some.values() for run in runs]:
    assert cs.train(run.recipe, ROOT, data=data).rows == run.rows
again = time.perf_counter() - begin
print(json.dumps({
    "counts": [len(data.train), len(data.val), len(data.test)],
    "runs": len(stored),
    "untouched": stored == {path: path.stat().st_mtime_ns for path in ROOT.rglob("result.json")},
    "again": again,
    "accuracies": {
        name: [run.best["test_accuracy"] for run in runs]
        for some in arms_of_all
        for name, runs in some.items()
    },
    "answers": all(
        abs(correct(run).mean() - run.best["test_accuracy"]) < 1e-6 for run in arms["linear"]
    ),
    "collapsed": {
        name: [c.max_error, c.agreement, c.rank, c.checked] for name, c in collapsed.items()
    },
    "parameters": {name: runs[0].size["parameters"] for name, runs in fields.items()},
    "fields": [[row.kind, row.size, row.agrees] for row in rows],
    "verdicts": {
        name: [v.linearity, v.translation.equivariant, list(v.translation.periods)]
        for name, v in verdicts.items()
    },
    "fails": [
        [name, e.law]
        for name, v in verdicts.items()
        for e in v.counterexamples
        if e.replay(operators[name][0]) > e.tolerance
    ],
    "flip": [flip_error, distance],
    "order": [
        order.logits_difference,
        *(max(t.loss_difference, t.weight_difference) for t in order.trajectories),
    ],
}))
"""


def source_cells() -> list[dict[str, Any]]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_stored_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    tree = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(tree)
    assert (tree["nbformat"], tree["nbformat_minor"]) == (4, 5)
    assert tree["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in tree["cells"]}) == len(tree["cells"])
    for cell in tree["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]


def test_every_cell_is_python_and_names_only_what_convscope_has() -> None:
    cells = ["".join(c["source"]) for c in source_cells() if c["cell_type"] == "code"]
    trees = [ast.parse(cell) for cell in cells]
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cs"
    }
    assert len(used) > 10 and [name for name in used if not hasattr(convscope, name)] == []
    imported = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    ours = [node for node in imported if (node.module or "").startswith("convscope")]
    for node in ours:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
    assert len(ours) >= 4


def test_the_text_states_no_result() -> None:
    """Percentages, points and nats belong to the code's output, not to the text."""
    text = "\n".join(
        "".join(cell["source"]) for cell in source_cells() if cell["cell_type"] == "markdown"
    )
    decided = ("with 95 % intervals", "by more than 2 % an epoch")
    for phrase in decided:
        text = text.replace(phrase, "")
    assert "%" not in text and " points" not in text and " nats" not in text
    for question in (
        "Capacity",
        "Best",
        "Nonlinearity",
        "Receptive field",
        "Convolution",
        "Flatten order",
    ):
        assert f". {question}\n" in text


@pytest.fixture
def kernel_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and python3 as the name of a kernel with this interpreter."""
    pytest.importorskip("ipykernel")
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of jupyter and its event loop
@pytest.mark.usefixtures("session_cache")
def test_the_notebook_runs_and_what_it_finds_is_true(kernel_of_this_python: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "4_000," in cell.source]
    cell.source = cell.source.replace("4_000,", "2_400,").replace("2_000,", "500,")  # images
    notebook.cells.append(nbformat.v4.new_code_cell(FACTS))
    place = {"metadata": {"path": str(kernel_of_this_python)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=900, resources=place).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [
        o["text"] for o in outputs if o.get("name") == "stderr"
    ] == []  # no warning in front of the students
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 3
    said = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
    facts = json.loads(said.splitlines()[-1])

    assert facts["counts"] == [1920, 480, 500]
    assert (
        facts["runs"] == 30 and facts["untouched"] and facts["again"] < 10
    )  # seconds; training takes more than twice as long
    assert facts["answers"]
    for name, found in facts["accuracies"].items():
        for accuracy in found:
            assert 0.05 < accuracy < 0.75, name
    for name in ("width 8", "linear", "softmax regression", "cascade, FC"):
        assert min(facts["accuracies"][name]) > 0.2, name  # they learn something

    # an affine network is one matrix; a nonlinear one is refused, and the part named
    assert set(facts["collapsed"]) == {"linear", "linear, half as wide", "softmax regression"}
    for error, agreement, rank, checked in facts["collapsed"].values():
        assert error < 1e-6 and agreement == 1.0 and rank <= 10 and checked == 500
    for name, part in (("ReLU alone", "blocks.0.act"), ("max pooling alone", "blocks.0.pool")):
        assert f"“{name}” does not collapse. The part '{part}' stands in the way" in said

    assert (
        facts["parameters"]["shallow, FC"] == 61_618
        and facts["parameters"]["shallow, average"] == 618
    )
    assert [size for kind, size, _ in facts["fields"] if kind == "Conv2d"] == [3, 8, 18]
    assert all(agrees for *_, agrees in facts["fields"])

    assert facts["verdicts"] == {
        "ReLU": ["nonlinear", True, [1, 1]],
        "pooling that keeps one fixed pixel": ["linear", False, [2, 2]],
        "adding a constant bias": ["affine", True, [1, 1]],
        "multiplication with a full matrix": ["linear", False, [None]],
    }
    assert {name for name, _ in facts["fails"]} == set(facts["verdicts"])
    assert ["ReLU", "additivity"] in facts["fails"]
    assert said.count("still fails") == len(facts["fails"]) and "holds now" not in said
    assert max(facts["flip"]) < 1e-9
    assert max(facts["order"]) < 1e-8
