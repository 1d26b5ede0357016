"""Layers and operators as the chapter tells them: all counted, how they move, and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convscope.chapters.convolution.layers import measure_layers
from convscope.chapters.convolution.network import NetworkMeasures, completed
from convscope.chapters.convolution.operators import Measured, measure_operator
from convscope.chapters.convolution.tables import layers_table, operators_table
from convscope.chapters.convolution.theorem import check_response
from convscope.chapters.convolution.words import TEXTS, layer_kinds, paragraphs_of
from convscope.probes.known_reasons import reasons
from convscope.probes.operators import OPERATORS
from convscope.recipe.networks import ConvNet

THEORY = Path(__file__).parents[1] / "docs" / "theory.md"


class OwnConv(nn.Conv2d):
    """A user's own kind of convolution: it is one, whatever its name."""


def told(rows: list[dict[str, Any]]) -> list[str]:
    return [TEXTS.layer_kind(kind) for kind in layer_kinds(rows)]


def rows_of(net: nn.Module, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    rows, left_out = measure_layers(net.eval(), shape)
    assert not left_out
    return rows


def test_every_convolution_is_counted_whatever_its_class(make_run) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), OwnConv(2, 2, 3, padding=1), nn.ReLU())
    rows = rows_of(net, (1, 12, 12))
    assert [row["convolution"] for row in rows] == [True, True, False]
    run = make_run(ConvNet(4, 1), [1.0], [1.0])
    measures = NetworkMeasures(run, "made", layers=tuple(rows), shifts_why="not asked")
    text = " ".join(paragraphs_of([], check_response(), measures))
    assert "was recovered from 2 of 2 convolutions" in text
    # rows of version 0.1.0, which do not say which layer is a convolution
    newer = ("convolution", "moves", "invariant", "inside", "first")
    old = [{key: row[key] for key in row if key not in newer} for row in rows]
    assert [completed(row)["convolution"] for row in old] == [True, True, False]
    measures = NetworkMeasures(run, "made", layers=tuple(map(completed, old)), shifts_why="no")
    text = " ".join(paragraphs_of([], check_response(), measures))
    assert "was recovered from 2 of 2 convolutions" in text
    assert layers_table(measures).rows[0]["response"] == "2×1×3×3"


@pytest.mark.parametrize(
    ("layer", "side", "words"),
    [
        # a pooling of the whole map is told by its window, not by the one number that it leaves
        (nn.AvgPool2d(8), 8, "AvgPool2d: linear, not translation-equivariant, period 8"),
        (nn.AvgPool2d(2), 2, "AvgPool2d: linear, not translation-equivariant, period 2"),
        (nn.AdaptiveAvgPool2d(1), 8, "AdaptiveAvgPool2d: linear, translation-invariant"),
        (
            nn.Conv2d(1, 2, 3, bias=False),
            12,
            "Conv2d: linear, translation-equivariant where its windows lie inside the image",
        ),
        (
            nn.Conv2d(1, 2, 3, stride=2, bias=False),
            13,
            "Conv2d: linear, not translation-equivariant, "
            "period 2 where its windows lie inside the image",
        ),
        (
            nn.Upsample(scale_factor=2),
            8,
            "Upsample: linear, its output moves along with every shift, but not by as many pixels",
        ),
    ],
)
def test_how_layers_move_is_told(layer: nn.Module, side: int, words: str) -> None:
    rows = rows_of(nn.Sequential(layer), (1, side, side))
    assert told(rows) == [words]
    assert "period 1" not in words and "no period" not in words


def test_cells_of_layers_that_are_invariant_or_not_padded(make_run) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.AdaptiveAvgPool2d(1))
    measures = NetworkMeasures(make_run(ConvNet(4, 1), [1.0], [1.0]), "made")
    rows = tuple(rows_of(net, (1, 12, 12)))
    conv, pool = layers_table(NetworkMeasures(measures.run, "made", layers=rows)).rows
    assert (conv["equivariant"], conv["period"], conv["invariant"]) == (
        "where windows lie inside",
        "1 where windows lie inside",
        "no",
    )
    assert conv["response"] == "2×1×3×3 from −2, −2"
    assert (pool["equivariant"], pool["period"], pool["invariant"]) == ("no", "any shift", "yes")


def measured(*names: str) -> list[Measured]:
    return [measure_operator(name, OPERATORS[name]) for name in names]


def test_the_top_right_pixel_is_picked_and_its_place_is_in_the_response() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert OPERATORS["pick-top-right"].make()(x).flatten().tolist() == [1, 3, 9, 11]
    (one,) = measured("pick-top-right")
    assert not one.differs and one.found is not None
    row = operators_table([one]).rows[0]
    assert row["response"] == "1×1×1×1 from 0, −1"  # x(2j + 1) = Σ x(i) h(2j − i), h = δ₋₁
    assert row["why"] == reasons()["pick-top-right"] and row["theory"] == "yes"


def test_the_report_gives_the_reasons_of_the_theory() -> None:
    """docs/theory.md, section 3, and the report's table: the same operators, verdicts, reasons."""
    assert set(reasons()) == set(OPERATORS)
    section = THEORY.read_text(encoding="utf-8").split("## 3.")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)[2:]
    words = {"linear": "yes", "affine": "no, affine", "nonlinear": "no"}
    there = {title: (linear, moves, why) for title, linear, moves, why in rows}
    assert len(there) == len(rows) == len(OPERATORS)
    for name, known in OPERATORS.items():
        linear, moves, why = there[known.title or name]
        assert linear == words[known.linearity]
        assert why.replace("&#124;", "|") == reasons()[name]
        assert moves.startswith("yes") == known.equivariant
        assert ("invariant" in moves) == known.invariant
        if known.period not in (None, 1):
            assert moves == f"no, period {known.period}"


def test_reasons_are_plain_sentences() -> None:
    for name, why in reasons().items():
        assert why.endswith(".") and "  " not in why, name
        for sentence in re.split(r"(?<=[.])\s", why):
            assert len(sentence.split()) <= 40, sentence


def test_invariant_and_equivariant_are_explained() -> None:
    said = TEXTS.words_paragraph()
    assert said.startswith("Equivariant and invariant. ")
    assert "A convolution is equivariant" in said and "Global average pooling is invariant" in said
    assert "in the assignment, the first is called translation-invariant" in said
    assert "Without padding" in TEXTS.edges_paragraph()
