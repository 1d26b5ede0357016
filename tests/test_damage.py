"""Damage behind a verdict: it is named on the page and on standard error, and never silent."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from studying import is_pilot, results, runs_of

from convscope import data
from convscope.chapters.nonlinearity.collapses import map_of
from convscope.chapters.receptive_field.fields import effective
from convscope.files import dump, seal, write_json
from convscope.training.evidence import missing_evidence, note_missing
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("tiny_preset")


@pytest.fixture
def torture(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "bench"))
    import torture

    return torture


@pytest.fixture
def victim(finished_study: Path) -> Run:
    """A run of the sweep whose best weights have one bit flipped."""
    run = next(run for run in runs_of(finished_study).values() if not is_pilot(run))
    path = run.path / "best.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    return run


def words(page: Path) -> str:
    """The text of a page."""
    text = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.mark.parametrize("count", [16, pytest.param(60, marks=pytest.mark.slow)])
def test_no_damage_is_silent(torture: ModuleType, finished_study: Path, count: int) -> None:
    before = {p: p.read_bytes() for p in finished_study.rglob("*") if p.is_file()}
    table: dict[str, Counter[str]] = torture.torture(
        finished_study, count, of_any=0.1, thorough=count // 2
    )
    every = sum(table.values(), Counter[str]())
    assert sum(every.values()) == count and every["silent"] == 0, table
    assert every["detected"] > count // 2
    hashed = {"metrics.jsonl", "val_losses.f16", "checkpoint.safetensors", "best.safetensors"}
    assert all(table[name]["detected"] == sum(table[name].values()) for name in hashed & set(table))
    after = {p: p.read_bytes() for p in finished_study.rglob("*") if p.is_file()}
    assert {path: after[path] for path in before} == before


def test_damage_that_nothing_names_would_be_called_silent(
    torture: ModuleType, finished_study: Path
) -> None:
    """A forger, who mends every hash, is not found: the bench sees that the answer changed."""
    known = torture.reading(finished_study)
    run = next(run for run in runs_of(finished_study).values() if not is_pilot(run))
    rows = [{**row, "val_loss": row["val_loss"] + 1} for row in run.rows]
    metrics = b"".join(dump(row) + b"\n" for row in rows)
    (run.path / "metrics.jsonl").write_bytes(metrics)
    path = run.path / "result.json"
    digest = hashlib.sha256(metrics).hexdigest()
    result = json.loads(path.read_text()) | {"metrics_sha256": digest}
    result["files"]["metrics.jsonl"] = digest
    write_json(path, {**result, "seal": seal(result)})
    assert torture.outcome(finished_study, path, known) == "silent"


def test_a_report_names_the_runs_that_it_leaves_out(
    victim: Run, finished_study: Path, cli: Callable[..., Any]
) -> None:
    answer = cli("report", finished_study)
    assert answer.code == 0
    (left_out,) = [line for line in answer.err.splitlines() if line.endswith("; it is left out")]
    assert f"run {victim.path}: best.safetensors was altered" in left_out
    (missing,) = [line for line in answer.err.splitlines() if line.startswith("missing evidence")]
    why = f"run {victim.id} is left out: best.safetensors was altered"
    assert missing == f"missing evidence: chapter capacity: {why}"
    tree = results(finished_study)
    damage = {"run": victim.id, "why": "best.safetensors was altered", "trained_again": False}
    assert tree["damaged"] == [damage] and tree["chapters"]["capacity"]["missing"] == [why]
    assert victim.id not in {run["id"] for run in tree["runs"]}
    page = words(finished_study / "report.html")
    named = f"was written: {victim.id} (best.safetensors was altered). The study's own command"
    assert named in page
    assert f"Missing evidence: {why}." in page and "evidence is missing" in page
    assert str(finished_study / "runs") not in page
    listed = cli("runs", finished_study)
    assert f"left out: run {victim.path}: best.safetensors was altered" in listed.err


def test_a_run_without_a_result_is_named(torture: ModuleType, finished_study: Path) -> None:
    run = next(run for run in runs_of(finished_study).values() if not is_pilot(run))
    (run.path / "result.json").unlink()
    found = torture.reading(finished_study)
    assert f"run {run.path}: no result.json; it is left out" in found.said
    capacity = found.tree["chapters"]["capacity"]
    assert capacity["missing"] == ["1 run without a result on disk"]
    (damage,) = found.tree["damaged"]
    assert (damage["run"], damage["why"]) == (run.id, "it has no result.json")


def test_notes_go_to_the_innermost_collection_once() -> None:
    note_missing("nobody listens")
    with missing_evidence() as outer:
        note_missing("a\nb")
        with missing_evidence() as inner:
            note_missing("c")
        with missing_evidence(outer):
            note_missing("a\nb")
            note_missing("d")
    assert (outer, inner) == (["a\\nb", "d"], ["c"])


def test_chapters_note_what_they_cannot_read(victim: Run, small_images: Path) -> None:
    loaded = data.load(small_images)
    with missing_evidence() as notes:
        assert map_of(victim, loaded) is None and effective(victim, loaded) is None
    why = f"of run {victim.id}: best.safetensors was altered"
    assert notes == [f"the affine map {why}", f"the effective field {why}"]
