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
from convscope.report.concepts import markdown
from convscope.report.constants import constant, filled
from convscope.report.findings import Finding, Table
from convscope.report.glossary import ENTRIES, explain, used

DOCS = Path(__file__).parents[1] / "docs"
GLOSSARY = Path(glossary.__file__).with_suffix(".toml")


def test_every_entry_is_whole_and_names_what_computes_it() -> None:
    assert len(ENTRIES) >= 60
    for key, entry in ENTRIES.items():
        assert key == entry.key and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)
        texts = (entry.title, entry.definition, entry.formula, entry.caveat, entry.source)
        assert all(text and text == text.strip() and "  " not in text for text in texts), key
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
        ("plateau from size w", "plateau"),
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
    for name, where in glossary.GLOSSARY["constants"].items():
        module, _, written = where.rpartition(".")
        loaded = importlib.import_module(f"convscope.{module}")
        owners = [loaded, *(value for value in vars(loaded).values() if isinstance(value, type))]
        found = [getattr(owner, written) for owner in owners if hasattr(owner, written)]
        assert found[:1] == [glossary.NUMBERS[name]], name
    assert "2 % per epoch" in explain("undertrained").definition
    assert "V − L < 0.1 V and" in explain("underfits").formula
    assert "≤ 1e-8 in float64" in explain("order does not matter").formula
    assert "{V ≤ V_best" in explain("smallest").formula
    assert filled("{a:points}, {a:%}, {b}", {"a": 0.03, "b": 5_000}) == "3 points, 3 %, 5,000"
    with pytest.raises(KeyError):
        filled("{nobody}", {})
    with pytest.raises(LookupError, match=r"no NONE = number"):
        constant("statistics.learning_curves.NONE")


def test_every_number_is_used_in_a_text() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    for name in glossary.NUMBERS:
        assert re.search(rf"\{{{name}[}}:]", text), name


def test_sentences_are_short() -> None:
    texts = [text for e in ENTRIES.values() for text in (e.definition, e.caveat)]
    texts += [section["text"] for section in glossary.GLOSSARY["section"]]
    for sentence in (part for text in texts for part in re.split(r"(?<=[.!?])\s|\n\n", text)):
        assert len(sentence.split()) <= 40, sentence


def test_the_concepts_page_is_the_glossary() -> None:
    assert (DOCS / "concepts.md").read_text(encoding="utf-8") == markdown()


def test_it_imports_quickly_and_the_standard_library_alone() -> None:
    heavy = ("torch", "numpy", "pandas", "altair", "scipy", "jinja2")
    code = "import sys; import convscope.report.glossary; "
    code += f"print(sorted(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
