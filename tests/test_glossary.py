"""Every word of the report is explained, by entries that agree with the code they name."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convscope.errors import UserError
from convscope.report import glossary
from convscope.report.findings import Finding, Table
from convscope.report.glossary import ENTRIES, explain, used

DOCS = Path(__file__).parents[1] / "docs"


def test_every_entry_is_whole_and_names_what_computes_it() -> None:
    assert len(ENTRIES) >= 60
    for key, entry in ENTRIES.items():
        assert key == entry.key and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)
        texts = (entry.title, entry.definition, entry.formula, entry.caveat, entry.source)
        assert all(
            text
            and text == text.strip()
            and "  " not in text.replace("  (", " (").replace(";  ", "; ")
            for text in texts
        ), key
        assert entry.definition.endswith(".") and entry.caveat.endswith("."), key
        assert entry.source.startswith("definition") or re.search(
            r"\b(19|20)\d\d\b", entry.source
        ), key
        if entry.computed:
            resolve(entry.computed)
    assert len({entry.title.casefold() for entry in ENTRIES.values()}) == len(ENTRIES)


def resolve(name: str) -> object:
    """chapters.best.latency as the object: the longest part that is a module, then attributes."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(["convscope", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def test_entries_print_within_100_columns_and_as_json() -> None:
    for entry in ENTRIES.values():
        lines = str(entry).splitlines()
        assert lines[0] == entry.title and max(map(len, lines)) <= 100
        assert lines[1].startswith("  ") and any(line.startswith("  misleads:") for line in lines)
        assert entry.definition.split()[-1] in str(entry)
        assert (
            glossary.Entry(
                **{**json.loads(json.dumps(dataclasses.asdict(entry))), "words": entry.words}
            )
            == entry
        )


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("standard error", "standard-error"),
        ("Standard_Error ", "standard-error"),
        ("PARETO FRONT", "pareto-front"),
        ("cannot tell", "cannot-tell"),
        ("non monotone", "non-monotone"),
        ("overfits", "overfits"),
        ("plateau from width w", "plateau"),
        ("drop of accuracy", "drop"),
        ("stride", "stride"),
        ("jump", "stride"),
        ("loss", "cross-entropy"),
        ("linear", "linearity"),
        ("affine", "affine"),
        ("theoretical receptive field", "receptive-field"),
        ("learning rate", "pilot"),
    ],
)
def test_keys_titles_and_words_lead_to_their_entry(asked: str, key: str) -> None:
    assert explain(asked).key == key


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    for wrong, message in {
        "standart error": "explain 'standart error'; did you mean 'standard error'?",
        "overfit from": "explain 'overfit from'; did you mean",
    }.items():
        with pytest.raises(UserError, match=re.escape(message)):
            explain(wrong)
    for wrong in ("", "qqqq", "x\ny" * 500):
        with pytest.raises(UserError) as error:
            explain(wrong)
        assert "known: filters, parameters" in str(error.value) and "\n" not in str(error.value)


def test_what_a_report_uses_is_found_by_whole_words() -> None:
    table = Table(
        "t",
        "Networks",
        (("network", "network", "text"), ("flops", "FLOPs", "int")),
        [{"network": "a", "flops": 1}],
    )
    finding = Finding(
        "c", "Capacity", "How many?", "plateau from width 8 at depth 3", "It overfits.", {}, [table]
    )
    keys = {entry.key for entry in used([finding])}
    assert {"plateau", "overfits", "flops", "width", "depth"} <= keys
    assert not keys & {"fits", "pareto-front", "underfits", "rank", "trial"}
    assert used([]) == []


def test_the_concepts_page_and_the_glossary_name_the_same_verdicts() -> None:
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    for verdict in (
        "overfits",
        "undertrained",
        "underfits",
        "fits",
        "cannot tell",
        "non-monotone",
        "plateau",
        "still improving",
    ):
        assert f"**{verdict}" in text and explain(verdict).title.startswith(f"Verdict: {verdict}")


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    from convscope.chapters import ordering
    from convscope.probes import fields
    from convscope.statistics import estimates as stats
    from convscope.statistics import learning_curves as curves

    assert f"{100 * curves.FALL:g} % an epoch" in explain("undertrained").definition
    assert f"{100 * curves.SMALL_GAP:g} % of the validation loss" in explain("underfits").definition
    assert f"{100 * stats.LEVEL:g} % confidence interval" in explain("interval").definition
    assert (
        f"{100 * fields.PEAK_SHARE:g} % of its peak"
        in explain("effective receptive field").definition
    )
    assert "1e-8" in explain("order does not matter").formula and ordering.EXACT == 1e-8


def test_it_imports_quickly_and_the_standard_library_alone() -> None:
    code = "import sys; import convscope.report.glossary; print(sorted(m for m in ('torch', 'numpy', 'pandas', 'altair', 'scipy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
