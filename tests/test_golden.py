"""Nothing that is computed changes: ids, networks, metrics, the figures of a study.

tests/goldens.py says how to write these anew.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import goldens
import pytest
from unpacking import unpack_old_study

EXACT = bool(os.environ.get("CONVSCOPE_GOLDEN_EXACT"))  # on the machine that wrote them
RELATIVE, ABSOLUTE = 1e-5, 1e-7
ROUNDING = re.compile(r"\d\.\de-1\d")
HASHED = {"sha256"}  # bytes of weights: processors draw them alike up to rounding


def golden(name: str) -> Any:
    return json.loads((goldens.FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def same(found: Any, expected: Any, place: str = "") -> None:
    """Every key of the golden file is there with its value; new keys may stand beside them."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            if EXACT or key not in HASHED:
                assert key in found, f"{place}.{key} is missing"
                same(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            same(one, other, f"{place}[{i}]")
    elif isinstance(expected, str) and not EXACT and ROUNDING.fullmatch(expected):
        same(float(found), float(expected), place)  # a rounding error, as a table's cell has it
    elif isinstance(expected, float) and not EXACT:
        assert math.isclose(found, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE), (
            place,
            found,
            expected,
        )
    else:
        assert found == expected, (place, found, expected)


SAMPLE = {"muon", "augmented"}  # of short runs, in `make test`


def test_ids() -> None:
    assert len(golden("ids")) >= 40
    assert goldens.ids() == golden("ids")


@pytest.mark.parametrize("name", golden("networks"))
def test_networks(name: str) -> None:
    named = {known: make() for known, make in goldens.NAMED.items()}
    same(
        json.loads(json.dumps(goldens.network_figures({**named, **goldens.VARIANTS}[name]))),
        golden("networks")[name],
    )


@pytest.mark.usefixtures("session_cache")
@pytest.mark.parametrize(
    "names", [SAMPLE, pytest.param(set(golden("metrics")) - SAMPLE, marks=pytest.mark.slow)]
)
def test_metrics(names: set[str]) -> None:
    assert names <= set(golden("metrics"))
    same(
        goldens.metrics(exact=False, names=names), {name: golden("metrics")[name] for name in names}
    )


@pytest.mark.slow
@pytest.mark.usefixtures("session_cache", "kept")
def test_a_study_of_all_chapters() -> None:
    same(goldens.study_results(), golden("study"))


@pytest.fixture
def old_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study that version 0.1.0 trained, beside its images."""
    unpack_old_study(tmp_path)
    monkeypatch.chdir(tmp_path)  # its recipes name the images by a relative path
    return Path("study")


@pytest.mark.slow
@pytest.mark.usefixtures("session_cache", "kept")
def test_a_study_of_an_earlier_version_renders(old_study: Path) -> None:
    from convscope.studies.rendering import render

    with goldens.tiny():
        found = render(old_study)
    assert not found.broken and found.complete
    same(goldens.results_of(old_study), golden("old-study"))


@pytest.mark.slow
@pytest.mark.usefixtures("session_cache", "kept", "few_draws")
def test_a_study_of_an_earlier_version_resumes(old_study: Path) -> None:
    from convscope.studies.main_path import study

    stamps = {path: path.stat().st_mtime_ns for path in old_study.rglob("result.json")}
    with goldens.tiny():
        found = study(goldens.IMAGES, seeds=2, out=old_study, device="cpu", workers=2, budget=1e8)
    assert not found.broken and not found.failed
    # none was trained again; today's chapters ask for other runs, too
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    ids = {run["id"] for run in goldens.results_of(old_study)["runs"]}
    assert {path.parent.name for path in stamps} & ids
