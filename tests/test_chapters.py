"""All chapters in one study: what programs read, nothing trained twice, reports written again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import altair
import jsonschema
import pytest
from browsing import Opened, pages
from studying import TWO, no_overhead

from convscope import studies
from convscope.chapters import CHAPTERS
from convscope.report import glossary
from convscope.studies.watcher import Watcher
from convscope.training.run_folder import list_runs
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("tiny_preset")


class Listener(Watcher):
    def __init__(self) -> None:
        self.trained: list[str] = []
        self.said: list[str] = []
        self.by_chapter: dict[str, set[str]] = {}

    def say(self, text: str) -> None:
        self.said.append(text)

    def asked(self, chapter: str, requests: Any, cost: float, skipped: float) -> None:
        for request in requests:
            self.by_chapter.setdefault(chapter, set()).update(r.id for r in request.recipes)

    def started(self, recipe: Any) -> None:
        self.trained.append(recipe.id)


@pytest.fixture(scope="module")
def whole(_whole_study: Path) -> Path:
    return _whole_study


def results(root: Path) -> dict[str, Any]:
    return json.loads((root / "results.json").read_text())


def text_of(root: Path) -> str:
    return (root / "report.html").read_text(encoding="utf-8")


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("no one foresaw this")


def test_a_chapter_that_fails_loses_nothing_of_the_others(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Any
) -> None:
    root = tmp_path / "study"
    shutil.copytree(whole, root)

    monkeypatch.setattr("convscope.chapters.ordering.analysis.finding", broken)
    done = cli("report", str(root))
    tree, before = results(root), results(whole)
    failed = tree["chapters"]["ordering"]
    assert failed["verdict"] == "failed" and "no one foresaw this" in failed["sentence"]
    for name in CHAPTERS:
        if name != "ordering":
            assert tree["chapters"][name]["sentence"] == before["chapters"][name]["sentence"]
    assert "no one foresaw this" in text_of(root)
    (line,) = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    assert done.code == 1
    assert line == "failed: chapter ordering: ZeroDivisionError: no one foresaw this"


def test_every_chart_is_valid_vega_lite(whole: Path) -> None:
    page = text_of(whole)
    specs = re.findall(
        r'<script type="application/json" id="spec-[^"]*">(.*?)</script>', page, re.DOTALL
    )
    assert (
        len(specs)
        == sum(len(chapter["charts"]) for chapter in results(whole)["chapters"].values())
        > 10
    )
    schema = jsonschema.Draft7Validator(altair.load_schema())  # ten times as quick as Altair
    for spec in specs:
        schema.validate(json.loads(spec))


def test_every_chapter_has_its_answer(whole: Path) -> None:
    tree = results(whole)
    assert list(tree["chapters"]) == list(CHAPTERS)
    for name, chapter in tree["chapters"].items():
        assert (
            chapter["question"].endswith("?")
            and chapter["sentence"].endswith(".")
            and chapter["verdict"]
        ), name
        assert chapter["sentence"].isprintable() and chapter["charts"] and chapter["tables"], name
        for chart in chapter["charts"]:
            assert (whole / chart["png"]).stat().st_size > 1000
        for gallery in chapter["galleries"]:
            assert all((whole / picture["png"]).exists() for picture in gallery["pictures"])
    assert tree["sentence"].endswith(".") and tree["sentence"].count(";") >= len(CHAPTERS) - 1
    numbers = {name: chapter["numbers"] for name, chapter in tree["chapters"].items()}
    runs = {run["id"]: run for run in tree["runs"]}
    assert {numbers["best"]["winner"], numbers["best"]["smallest"]} <= set(runs)
    assert {"test_loss", "test_accuracy"} <= set(numbers["best"])
    promised = {
        "drop",
        "drop_interval",
        "linear_accuracy",
        "softmax_regression_accuracy",
        "collapse_max_error",
    }
    assert promised <= set(numbers["nonlinearity"])
    assert (
        numbers["nonlinearity"]["collapse_max_error"] < 1e-6
        and numbers["nonlinearity"]["collapse_agreement"] == 1.0
    )
    assert numbers["ordering"]["largest_exact_difference"] < 1e-8
    assert numbers["convolution"]["agree"] == numbers["convolution"]["of"] >= 20
    assert (whole / "search.journal").exists() and list(
        (whole / "counterexamples").glob("relu-*.safetensors")
    )


def test_figures_are_those_of_the_runs(whole: Path) -> None:
    tree = results(whole)
    runs = {run["id"]: run for run in tree["runs"]}
    for name in ("nonlinearity", "receptive_field", "ordering"):
        for arm in tree["chapters"][name]["numbers"]["arms"]:
            members = [runs[key] for key in arm["runs"]]
            assert arm["test_accuracy"] == pytest.approx(
                sum(r["best"]["test_accuracy"] for r in members) / len(members)
            )
            assert all(
                name in run["chapters"] and run["parameters"] == arm["parameters"]
                for run in members
            )
    best = tree["chapters"]["best"]["numbers"]
    (chosen,) = [row for row in best["configurations"] if best["winner"] in row["runs"]]
    members = [runs[key] for key in chosen["runs"]]
    assert len({json.dumps({**run["recipe"], "seed": 0}) for run in members}) == 1
    errors = {row["network"]: row["val_error"] for row in best["configurations"]}
    assert errors[chosen["network"]] == min(errors.values())
    fresh = [runs[key] for key in best["runs"]]  # of seeds that chose nothing
    assert not {run["seed"] for run in fresh} & {run["seed"] for run in members}
    assert best["test_accuracy"] == pytest.approx(
        sum(r["best"]["test_accuracy"] for r in fresh) / len(fresh)
    )


def test_nothing_is_trained_twice_and_a_resumed_study_says_the_same(
    whole: Path, small_images: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(whole, tmp_path / "study"))
    before, listener = results(root), Listener()
    again = studies.study(small_images, out=root, workers=2, watcher=listener)
    assert listener.trained == [] and set(listener.by_chapter) == set(CHAPTERS)
    assert results(root)["chapters"] == before["chapters"] and again.sentence == before["sentence"]
    shared = [run for run in before["runs"] if len(run["chapters"]) > 1]
    assert shared, "the strong network belongs to capacity and best"


def test_a_report_written_again_is_the_same(whole: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(whole, tmp_path / "study"))
    journal = (root / "search.journal").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in (root / "counterexamples").iterdir()}
    before = results(root)
    studies.render(root)
    after = results(root)
    for name in CHAPTERS:
        assert after["chapters"][name] == before["chapters"][name], name
    assert (root / "search.journal").read_bytes() == journal
    assert {
        path: path.stat().st_mtime_ns for path in (root / "counterexamples").iterdir()
    } == stamps


def test_lost_runs_leave_a_report(whole: Path, tmp_path: Path) -> None:
    """Every chapter answers, if with 'cannot tell', whatever is left of its runs."""
    root = Path(shutil.copytree(whole, tmp_path / "study"))
    runs = [run for run in list_runs(root / "runs") if isinstance(run, Run)]
    for i, run in enumerate(runs):
        if i % 3:
            (run.path / "result.json").unlink()
        elif i % 2 and (run.path / "best.safetensors").exists():
            (run.path / "best.safetensors").write_bytes(b"gone")
    for left in range(2):
        study = studies.render(root)
        assert list(study) == list(CHAPTERS) and study.sentence.endswith(".")
        for finding in study.values():
            assert (
                finding.sentence.isprintable()
                and finding.sentence.endswith(".")
                and finding.verdict
            )
        for run in runs:  # then nothing at all
            (run.path / "result.json").unlink(missing_ok=True)
        assert left or len(study.runs) < len(runs)
    assert (
        study["nonlinearity"].verdict
        == study["ordering"].verdict
        == study["best"].verdict
        == "cannot tell"
    )


# --- two chapters


@pytest.mark.slow
def test_two_chapters_need_no_others_and_a_budget_is_kept(
    _two_chapters: Path, small_images: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(_two_chapters, tmp_path / "study"))
    before, listener = results(root), Listener()
    kept = json.loads((root / "study.json").read_text())
    assert kept["fitted"]["budget"] == 600.0 and kept["context"]["fit"] == kept["fitted"]["fit"]
    with no_overhead():
        study = studies.study(
            small_images, TWO, out=root, workers=2, budget="600s", watcher=listener
        )
    assert before["runs"] and listener.trained == []
    assert json.loads((root / "study.json").read_text())["fitted"] == kept["fitted"]
    assert results(root)["chapters"] == before["chapters"] and study.sentence == before["sentence"]
    assert list(study) == list(before["chapters"]) == TWO and study.complete


def test_one_of_two_chapters_fails_or_loses_its_runs(_two_chapters: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(_two_chapters, tmp_path / "study"))
    before = results(root)["chapters"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.chapters.ordering.analysis.finding", broken)
        study = studies.render(root)
    assert study["ordering"].verdict == "failed" and study["ordering"].sentence in text_of(root)
    assert results(root)["chapters"]["convolution"] == before["convolution"]
    studies.render(root)
    assert results(root)["chapters"] == before
    for path in root.glob("runs/*/result.json"):
        path.unlink()
    assert studies.render(root)["ordering"].verdict == "cannot tell"
    assert results(root)["chapters"]["convolution"] == before["convolution"]


# --- the page


def test_measures_in_headings_are_explained(whole: Path) -> None:
    """Every word of a table's heading that is not plain English is in the glossary."""
    told = " ".join(f"{e.key} {e.title} {e.definition}".lower() for e in glossary.ENTRIES.values())
    measures = {
        "parameters",
        "flops",
        "accuracy",
        "loss",
        "rank",
        "epoch",
        "epochs",
        "seeds",
        "gap",
        "field",
        "period",
        "border",
        "filters",
        "response",
        "rung",
        "trial",
        "equivariant",
        "linear",
        "order",
    }
    seen = set()
    for chapter in results(whole)["chapters"].values():
        for table in chapter["tables"]:
            seen |= {
                word
                for _, heading, _ in table["columns"]
                for word in heading.lower().replace("-", " ").split()
            } & measures
    assert len(seen) > 12 and all(word in told for word in seen), seen


@pytest.fixture(scope="module")
def opened(whole: Path, browser: Any) -> Iterator[Opened]:
    with pages(browser) as show:
        yield show(whole / "report.html")


def test_every_chart_is_drawn_in_a_real_browser(opened: Opened, whole: Path) -> None:
    page = opened.page
    drawn = page.eval_on_selector_all(
        ".chart", "all => all.map(c => [c.dataset.drawn, c.querySelectorAll('svg path').length])"
    )
    count = sum(len(chapter["charts"]) for chapter in results(whole)["chapters"].values())
    assert (
        len(drawn) == count
        and all(state == "yes" and marks > 3 for state, marks in drawn)
        and not opened.errors
    )
    pictures = page.eval_on_selector_all("main figure img", "all => all.map(i => i.naturalWidth)")
    assert pictures and all(width > 0 for width in pictures)
    wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0


def test_the_command_line_takes_the_new_options(
    cli: Callable[..., Any], micro: Path, tmp_path: Path
) -> None:
    for arguments, words in (
        (("--budget", "ten"), ["'ten'", "10m"]),
        (("--budget", "0s"), ["budget"]),
        (("--sampler", "tpee"), ["'tpee'", "'tpe'"]),
        (("--trials", "0"), ["trials = 0"]),
        (("--minutes", "nan"), ["minutes"]),
        (("--track", "wandbb"), ["'wandbb'", "'wandb'"]),
    ):
        answer = cli("study", micro, "--out", tmp_path / "s", *arguments)
        assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
        assert all(word in answer.err for word in words), answer.err
    assert not (tmp_path / "s").exists()
    assert cli("explain", "equivalent").out and "one-standard-error" in cli("explain").out
    assert json.loads(cli("explain", "rank", "--json").out)["definition"]
    assert cli("explain", "rnak").code == 2
