"""What a paper takes from a study: Markdown, LaTeX, CSV, BibTeX, a PDF, a page of two studies."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reporting
import studying

from convscope.chapters import capacity
from convscope.errors import UserError
from convscope.files import seal, write_bytes
from convscope.planning.context import Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report import pdf
from convscope.report.citing import bibtex, method
from convscope.report.files import results
from convscope.report.latex import latex, latex_table
from convscope.report.markdown import markdown, summary
from convscope.report.paper import csv_table, write_paper

TOP = Path(__file__).parent.parent


def table(told: str, rows: int = 2) -> dict[str, Any]:
    return {
        "name": "t",
        "title": f"title {told}",
        "columns": [("name", f"heading {told}", "text"), ("x", "x", "percent"), ("n", "n", "int")],
        "rows": [{"name": told, "x": 0.12345, "n": None} for _ in range(rows)],
        "caption": f"caption {told}",
    }


def test_nothing_in_a_text_is_a_command_of_latex() -> None:
    assert latex("50 % & a_b {c} #1 \\x ~ ^ $") == (
        r"50 \% \& a\_b \{c\} \#1 \textbackslash{}x \textasciitilde{} \textasciicircum{} \$"
    )
    assert latex("3×3, −1 ± 2, R², hₙ, 10⁻⁶") == (
        r"3$\times$3, $-$1 $\pm$ 2, R$^{2}$, h$_{n}$, 10$^{-}$$^{6}$"
    )
    assert latex("a\nb\x1b") == r"a\textbackslash{}nb\textbackslash{}x1b"


def test_tables_are_balanced_and_long_ones_may_break() -> None:
    for rows, kind in ((2, "tabular"), (60, "longtable")):
        text = latex_table(table("a_b & 50 %\n\\end{table}", rows), "tab:t")
        inside = [line for line in text.splitlines() if line.endswith(r"\\") and " & " in line]
        assert len(inside) == rows + 1
        assert all(line.replace(r"\&", "").count("&") == 2 for line in inside)
        assert text.count(f"\\begin{{{kind}}}") == text.count(f"\\end{{{kind}}}") == 1
        commands = "\n".join(line for line in text.splitlines() if line[0] != "%")
        assert commands.count(r"\end{table}") == (kind == "tabular")
        assert all("%" not in line.replace(r"\%", "") for line in inside)
        assert r"12.3 \%" in inside[1] and "--" in inside[1]  # a missing figure is a dash


def test_nothing_in_a_text_is_a_mark_of_markdown() -> None:
    shown = markdown("<b> *x* [a](http://e.org) |  `c` @somebody #12 1. $x$")
    assert shown == (
        r"\<b\> \*x\* \[a\](http:<!-- -->//e.org) \|  \`c\` @<!-- -->somebody #<!-- -->12 1. \$x\$"
    )
    assert markdown("1. first") == r"1\. first" and markdown("0.12") == "0.12"


def test_values_are_whole_in_csv_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(csv_table(table('=cmd, "x"')))))
    assert rows == [['heading =cmd, "x"', "x", "n"], *[['\'=cmd, "x"', "0.12345", ""]] * 2]


HOSTILE = "a|b <script>_x_ % & \\end{tabular} } 日本"


def test_all_files_are_made_of_a_studys_results(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    data = reporting.made_data(("a", "b"), HOSTILE)
    pilots, sweep, failed = reporting.made_runs(make_run, HOSTILE)
    found = capacity.finding(
        Context(data, "quick", (0, 1), Recipe()), pilots, [*sweep, failed], [], 0
    )
    findings = {"capacity": found, "more": reporting.second_finding(data, HOSTILE, None)}
    runs = (*pilots, *sweep, failed)
    used = {run.id: {"capacity": "pilot" if run in pilots else "sweep"} for run in runs}
    about = {**reporting.about_of(data, HOSTILE), "command": "convscope study ```x"}
    tree = results(about, findings, runs, used, f"sentence {HOSTILE}")
    paper = tmp_path / "paper"
    write_paper(paper, tree)
    told = (paper / "summary.md").read_text(encoding="utf-8")
    assert "<script>" not in told and "not complete" in told and told.count("```") == 2
    for line in (line for line in told.splitlines() if line.startswith("| ")):
        assert line.replace(r"\|", "").count("|") >= 2
    names = {
        f"{chapter}-{one['name']}{end}"
        for chapter, found in tree["chapters"].items()
        for one in found["tables"]
        for end in (".csv", ".tex")
    }
    assert {path.name for path in (paper / "tables").iterdir()} == names and len(names) >= 6
    for path in (paper / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        bare = body.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}") and bare.count(r"\end{tabular}") <= 1
    runs = [run for run in tree["runs"] if run["status"] == "finished" and not run["pilot"]]
    assert f"in {len(runs)} runs to the end" in (paper / "method.md").read_text(encoding="utf-8")
    assert (paper / "study.bib").read_text(encoding="utf-8").count("@") == 2


def test_a_method_says_what_these_runs_had(make_run: Callable[..., Any]) -> None:
    about = reporting.about_of(reporting.made_data(("a", "b"), "x"), "y")
    runs = tuple(
        make_run(ConvNet(width, 1), [1.0], [1.0], lr=lr, batch=32)
        for width, lr in ((2, 0.001), (4, 0.002))
    )
    used = {run.id: {"capacity": "sweep"} for run in runs}
    told = method(results(about, {}, runs, used, "s"))
    assert "2 networks in 2 runs to the end, and 0 pilots and trials" in told
    epochs = f"{Recipe().epochs:,}"
    assert f"batches of 32 images, {epochs} epochs and learning rates of 0.001 to 0.002" in told
    none = method(results(about, {}, (), {}, "s"))
    assert "0 networks in 0 runs" in none and "They were trained" not in none
    assert "{{The convscope authors}}" in bibtex(results(about, {}, (), {}, "s"))


def test_the_folder_costs_next_to_nothing(tmp_path: Path, finished_study: Path) -> None:
    import time

    tree = studying.results(finished_study)
    started = time.process_time()
    write_paper(tmp_path / "paper", tree)
    seconds = sum(run["seconds"] for run in tree["runs"])
    assert time.process_time() - started < max(0.02 * seconds, 0.2)
    assert summary(tree).startswith("## convscope: ")


def test_how_to_cite_the_program_is_at_the_top() -> None:
    text = (TOP / "CITATION.cff").read_text(encoding="utf-8")
    version = next(
        line for line in (TOP / "pyproject.toml").read_text().splitlines() if "version = " in line
    )
    assert f"version: {version.split(chr(34))[1]}" in text.splitlines()
    for key in ("cff-version: ", "message: ", "title: ", "authors:"):
        assert sum(line.startswith(key) for line in text.splitlines()) == 1


# --- PDF


def test_without_a_browser_one_line_says_so(
    cli: Callable[..., Any], finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(finished_study))
    monkeypatch.setattr(pdf, "IN_PLACE", ())
    before = (finished_study / "report.html").stat().st_mtime_ns
    done = cli("report", finished_study, "--pdf")
    assert done.code == 2 and done.err.count("\n") == 1 and "Chromium, Chrome or Edge" in done.err
    assert (finished_study / "report.html").stat().st_mtime_ns == before  # refused before


def test_a_browser_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "report.pdf").write_bytes(b"before")
    with pytest.raises(UserError, match=r"printed nothing \(exit code 3: broken\)"):
        pdf.print_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes() == b"before"


def test_a_page_is_printed(tmp_path: Path) -> None:
    if pdf.installed_browser() is None:
        pytest.skip("no browser is installed")
    page = tmp_path / "a page.html"
    page.write_text(
        "<p id=x>not drawn</p><div style='height:3000px'></div>"
        "<script>document.getElementById('x').textContent = 'drawn later'</script>"
    )
    pdf.print_pdf(page, tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page\n") >= 2


# --- two studies


def test_two_studies_side_by_side(cli: Callable[..., Any], finished_study: Path) -> None:
    other = finished_study.parent / "b & <b>"
    shutil.copytree(finished_study, other)
    tree = studying.results(other)
    tree["chapters"]["capacity"]["verdict"] = "another <i>word</i>"
    tree["study"]["seeds"] = [5, 6]
    write_bytes(other / "results.json", json.dumps(tree).encode())
    page = finished_study.parent / "two.html"
    done = cli("compare", finished_study, other, "--page", page)
    # a study of capacity alone has no winner: the page says so, and there is no verdict
    assert done.code == 2 and "no winner" in done.err and "page: " in done.err
    text = page.read_text(encoding="utf-8")
    assert "another &lt;i&gt;word&lt;/i&gt;" in text and "<b>" not in text.replace("<body>", "")
    assert "No comparison: " in text and "5, 6" in text and "another word" in text
    assert text.count("data:image/svg+xml") >= 4 and "http" not in text.split("</style>")[
        1
    ].replace("http-equiv", "")


@pytest.mark.parametrize("damage", ["absent", "broken", "other schema", "a list"])
def test_results_that_cannot_be_read_are_said(
    cli: Callable[..., Any], finished_study: Path, damage: str
) -> None:
    other = finished_study.parent / "b"
    shutil.copytree(finished_study, other)
    file = other / "results.json"
    match damage:
        case "absent":
            file.unlink()
        case "broken":
            file.write_text("{")
        case "other schema":
            file.write_text('{"schema": 99}')
        case _:
            file.write_text("[]")
    page = finished_study.parent / "two.html"
    done = cli("compare", finished_study, other, "--page", page)
    assert done.code == 2 and done.err.count("\n") == 1 and "results.json" in done.err
    assert "writes it again" in done.err and not page.exists()


def test_a_page_wants_two_studies_and_a_place(
    cli: Callable[..., Any], finished_study: Path
) -> None:
    run = next(path.parent for path in finished_study.glob("runs/*/result.json"))
    done = cli("compare", finished_study, run, "--page", finished_study.parent / "two.html")
    assert done.code == 2 and "is no study; --page shows two studies" in done.err
    other = finished_study.parent / "b"
    shutil.copytree(finished_study, other)
    done = cli("compare", finished_study, other, "--page", other / "nowhere" / "two.html")
    assert done.code == 2 and "must be a file in a folder that is there" in done.err


def test_winner_against_winner(cli: Callable[..., Any], finished_study: Path) -> None:
    """Two studies whose winners were trained: the comparison's rows are on the page."""
    other = finished_study.parent / "b"
    shutil.copytree(finished_study, other)
    for folder, width in ((finished_study, 0), (other, -1)):
        tree = studying.results(folder)
        full = [run for run in tree["runs"] if not run["pilot"] and run["status"] == "finished"]
        models = sorted({json.dumps(run["model"], sort_keys=True) for run in full})
        ids = [
            run["id"]
            for run in full
            if json.dumps(run["model"], sort_keys=True) == models[width]
            and run["recipe"]["limit"] == full[-1]["recipe"]["limit"]
        ]
        numbers = {"winner": ids[0], "runs": ids, "configurations": []}
        tree["chapters"]["best"] = {**tree["chapters"]["capacity"], "numbers": numbers}
        write_bytes(folder / "results.json", json.dumps(tree).encode())
    page = finished_study.parent / "two.html"
    done = cli("compare", finished_study, other, "--page", page)
    assert done.code in (0, 1, 3, 4), done.err
    text = page.read_text(encoding="utf-8")
    assert "No comparison" not in text
    for line in done.out.splitlines()[:1]:
        assert line.split("  ")[-1].strip() in text
    assert seal(studying.results(other))
