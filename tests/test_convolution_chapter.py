"""Operators as the theory says or not, counterexamples that replay, a trained network or none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import vl_convert
from torch import nn

from convscope import data
from convscope.chapters import convolution
from convscope.chapters.convolution import layers as layers_of
from convscope.chapters.convolution.examples import file_name
from convscope.chapters.convolution.operators import ASKED
from convscope.chapters.convolution.shifts import BORDERS, shifted, wilson
from convscope.chapters.convolution.theorem import check_response, response_error
from convscope.chapters.convolution.words import TEXTS, Between, Moved
from convscope.planning.context import Context
from convscope.planning.requests import Answer, Request, Wait
from convscope.probes import probe
from convscope.probes.laws import Counterexample
from convscope.probes.operators import OPERATORS
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import BestResult, Finding
from convscope.training.main_path import train
from convscope.training.resident_data import resident
from convscope.training.runs import Run
from convscope.training.trained import network


def context_of(
    path: Path,
    folder: Path | None = None,
    chapters: tuple[str, ...] = ("convolution",),
    live: bool = True,
) -> Context:
    loaded = data.load(str(path))
    base = Recipe(data=str(path), data_hash=loaded.hash, batch=8, epochs=1)
    return Context(loaded, "quick", (0,), base, chapters, folder=folder, live=live)


def finding_of(context: Context, winner: Run | None = None, *, sent: bool = True) -> Finding:
    """Drive the chapter as a study does: it waits, then is sent the winner's run (or nothing)."""
    generator = convolution.chapter(replace(context, needs=convolution.NEEDS))
    assert next(generator) == Wait(needs=("best",))
    if "best" in context.chapters:
        context.given["best"] = (
            BestResult(winner.recipe, winner, winner.recipe, None) if winner else None
        )
    answer = Answer()
    for _ in range(2):
        try:
            step = generator.send(answer)
        except StopIteration as end:
            return check(end.value)
        assert winner is not None and step == [Request([winner.recipe], "final")]
        answer = Answer({"final": [winner] if sent else []})
    raise AssertionError("the chapter never ends")


def check(finding: Finding) -> Finding:
    """What every finding must be: plain JSON, charts that draw, texts without a hole."""
    json.dumps([finding.numbers, *([t.rows for t in finding.tables])], allow_nan=False)
    for chart in finding.charts:
        json.dumps(chart.spec, allow_nan=False)
    for text in [
        finding.sentence,
        finding.verdict,
        *finding.paragraphs,
        *(c.alt + c.caption for c in finding.charts),
    ]:
        assert "None" not in text and "nan" not in text and ".." not in text and "  " not in text
    return finding


@pytest.fixture(scope="session")
def grey(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of the micro images, grey, 8×7."""
    path = tmp_path_factory.mktemp("grey") / "grey.npz"
    with np.load(micro) as file:
        named = {f"{k}_{s}": file[f"{k}_{s}"] for k in "xy" for s in ("train", "test")}
    for s in ("train", "test"):
        keep = named[f"y_{s}"] < 3
        named[f"x_{s}"], named[f"y_{s}"] = (
            named[f"x_{s}"][keep][:, :, :7, :1],
            named[f"y_{s}"][keep],
        )
    np.savez(path, **named)
    return path


@pytest.mark.usefixtures("kept")
def test_operators_are_as_the_theory_says(micro: Path, tmp_path: Path) -> None:
    finding = finding_of(context_of(micro, tmp_path))
    numbers = finding.numbers
    assert numbers["agree"] == numbers["of"] == len(OPERATORS)
    assert (
        finding.verdict == f"{len(OPERATORS)} of {len(OPERATORS)} operators are as the theory says"
    )
    for name, known in OPERATORS.items():
        found = numbers["operators"][name]
        assert (found["linearity"], found["equivariant"], found["period"]) == (
            known.linearity,
            known.equivariant,
            known.period,
        )
        assert (found["border"], found["invariant"], found["impulse_response"] is not None) == (
            known.border,
            known.invariant,
            known.convolution,
        )
    table = finding.tables[0].rows
    assert [row["operator"] for row in table[:4]] == [OPERATORS[name].title for name in ASKED]
    assert all(row["theory"] == "yes" for row in table)
    assert "pixel: linear, not translation-equivariant, period 2" in finding.sentence
    assert (
        "bias: affine, translation-equivariant;" in finding.sentence
        and "matrix: linear, not" in finding.sentence
    )
    assert len(finding.proof) >= 6 and numbers["check"]["holds"]
    assert (
        numbers["network"]["verdict"] == "cannot tell"
        and "no search for the best network" in finding.sentence
    )
    for chart in finding.charts:
        assert vl_convert.vegalite_to_svg(chart.spec).startswith("<svg")


@pytest.mark.usefixtures("kept")
def test_counterexamples_replay_and_a_report_written_again_writes_nothing(
    micro: Path, tmp_path: Path
) -> None:
    first = finding_of(context_of(micro, tmp_path))
    files = sorted(tmp_path.rglob("*"))
    broken = [
        (name, law) for name, found in first.numbers["operators"].items() for law in found["broken"]
    ]
    assert len(broken) == sum(path.is_file() for path in files) and not list(
        tmp_path.rglob("*.part")
    )
    for name, law in broken:
        example = Counterexample.load(tmp_path / "counterexamples" / file_name(name, law))
        assert example.law == law
        assert example.replay(OPERATORS[name].make()) == example.error > example.tolerance
    assert (
        'Counterexample.load("counterexamples/relu-additivity.safetensors")'
        in first.charts[1].caption
    )
    for path in files:
        if path.is_file():
            path.touch()
    before = {path: path.stat().st_mtime_ns for path in files}
    again = finding_of(context_of(micro, tmp_path, live=False))
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before
    assert again.numbers == first.numbers and again.sentence == first.sentence

    empty = tmp_path / "elsewhere"
    without = finding_of(context_of(micro, empty, live=False))
    assert not empty.exists()
    assert (
        not any(found["files"] for found in without.numbers["operators"].values())
        and ".load(" not in without.charts[1].caption
    )


@pytest.mark.slow
def test_a_wrong_theory_is_named(micro: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        OPERATORS, "pick-one", replace(OPERATORS["pick-one"], linearity="nonlinear", invariant=True)
    )  # as the report said
    monkeypatch.setitem(
        OPERATORS, "tanh", replace(OPERATORS["tanh"], make=lambda: lambda x: x.sum())
    )  # not to be measured
    finding = finding_of(context_of(micro))
    assert finding.verdict == (
        f"{len(OPERATORS) - 2} of {len(OPERATORS)} operators are as the theory says; "
        "not strided pooling that keeps one fixed pixel, tanh"
    )
    assert (
        "strided pooling that keeps one fixed pixel (linearity: linear, not nonlinear)"
        in finding.sentence
    )
    assert finding.numbers["operators"]["pick-one"]["differs"] == [
        "linearity: linear, not nonlinear",
        "invariant: no, not yes",
    ]
    assert not finding.numbers["operators"]["tanh"]["measured"]


def test_a_layer_that_is_no_convolution_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: x.flip(-1)[:, :1].repeat(1, 4, 1, 1))
    check = check_response()
    assert not check.holds and check.kernel_error is None
    assert "No impulse response was recovered" in TEXTS.check_words(check)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, (3, 5), padding=(1, 2)),
        nn.Conv2d(2, 3, 3, padding=0),
        nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2, padding_mode="circular"),
        nn.Conv2d(2, 3, 3, stride=2, padding=1),
        nn.Conv2d(2, 3, 3, padding="same"),
    ],
)
def test_trained_convolutions_give_back_their_flipped_kernel(layer: nn.Conv2d) -> None:
    found = probe(layer, (2, 16, 16)).convolution
    error = response_error(layer, found.linear_part, found.first)
    assert error is not None and error < 1e-12
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] += 1.0
    changed = response_error(layer, found.linear_part, found.first)
    assert changed is not None and changed > 0.1


@pytest.mark.parametrize("border", BORDERS)
def test_shifts_move_the_picture(border: str) -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    right = shifted(x, border, "right", 1)[0, 0, 0].tolist()
    up = shifted(x, border, "up", 2)[0, 0, :, 0].tolist()
    assert right == ([3, 0, 1, 2] if border == "circular" else [0, 0, 1, 2])
    assert up == ([8, 0, 4] if border == "circular" else [8, 8, 8])


def test_wilson_interval() -> None:
    from scipy import stats

    for hits, count in ((0, 20), (20, 20), (7, 20), (930, 1000)):
        exact = stats.binomtest(hits, count).proportion_ci(method="wilson")
        assert wilson(hits / count, count) == pytest.approx((exact.low, exact.high), abs=1e-12)


def trained(path: Path, root: Path, model: Model) -> Run:
    return train(Recipe(data=str(path), batch=8, epochs=2, model=model), root)


@pytest.mark.usefixtures("kept")
def test_a_trained_network(micro: Path, tmp_path: Path) -> None:
    run = trained(micro, tmp_path, ConvNet(4, 2, block_depth=2, norm="batch", skip=True))
    context = context_of(micro, tmp_path / "study", ("best", "convolution"))
    finding = finding_of(context, run)
    net = finding.numbers["network"]
    assert net["run"] == run.id and not net["left_out"] and net["kernel_error"] < 1e-12
    by = {(layer["layer"], layer["mode"]): layer for layer in net["layers"]}
    conv, pool = by["blocks.0.convs.0", "evaluation"], by["blocks.0.pool", "evaluation"]
    assert (conv["linearity"], conv["equivariant"], conv["border"], conv["response"]) == (
        "affine",
        True,
        1,
        [4, 3, 3, 3],
    )
    assert (pool["linearity"], pool["equivariant"], pool["period"]) == ("nonlinear", False, 2)
    assert (
        by["blocks.0.norms.0", "evaluation"]["linearity"] == "affine"
        and by["blocks.0.norms.0", "training"]["linearity"] == "nonlinear"
    )
    assert (
        by["fc.0", "evaluation"] | {"equivariant": None, "linearity": "affine"}
        == by["fc.0", "evaluation"]
    )

    tensors, rows = resident(run.recipe), finding.numbers["shifts"]
    with torch.no_grad():
        x, labels, model = tensors.inputs("test", slice(None)), tensors.labels["test"], network(run)
        base = model(x).argmax(1)
        moved = [model(x.roll(2 * sign, axis)).argmax(1) for axis in (2, 3) for sign in (1, -1)]
    row = next(row for row in rows if (row["border"], row["pixels"]) == ("circular", 2))
    assert row["unchanged"] == pytest.approx(
        float(torch.stack([m == base for m in moved]).double().mean())
    )
    assert row["accuracy"] == pytest.approx(
        float(torch.stack([m == labels for m in moved]).double().mean())
    )
    assert rows[0]["accuracy"] == pytest.approx(run.best["test_accuracy"]) and net["images"] == 20
    assert row["unchanged_low"] <= row["unchanged"] <= row["unchanged_high"]
    assert "20 shifted test images" in finding.sentence and [t.name for t in finding.tables] == [
        "operators",
        "layers",
        "shifts",
    ]

    measured = json.loads(json.dumps(context.measured))
    again = replace(context, live=False, given={}, measured=measured)
    (run.path / "best.safetensors").unlink()  # what was measured is kept
    assert finding_of(again, run, sent=False) == finding
    gone = finding_of(replace(again, measured={}, given={}), run, sent=False)
    assert (
        "cannot be looked at" in gone.sentence
        and gone.numbers["network"]["verdict"] == "cannot tell"
    )


@pytest.mark.usefixtures("kept")
def test_grey_images_of_three_classes(grey: Path, tmp_path: Path) -> None:
    run = trained(grey, tmp_path, ConvNet(3, 1, pool="avg", head="gap", activation="tanh"))
    finding = finding_of(context_of(grey, None, ("best", "convolution")), run)
    layers = {layer["kind"]: layer for layer in finding.numbers["network"]["layers"]}
    assert layers["AvgPool2d"]["linearity"] == "linear" and layers["AvgPool2d"]["period"] == 2
    assert max(row["pixels"] for row in finding.numbers["shifts"]) == 4


@pytest.mark.usefixtures("kept")
def test_networks_without_convolutions_or_room(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(grey, tmp_path, SoftmaxRegression())
    monkeypatch.setattr(layers_of, "MOST_WORK", 40)
    finding = finding_of(context_of(grey, None, ("best", "convolution")), run)
    assert (
        not finding.numbers["network"]["layers"]
        and len(finding.numbers["network"]["left_out"]) == 2
    )
    assert "no layer of softmax regression could be measured" in " ".join(finding.paragraphs)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("status", ["out_of_memory", "diverged", "missing"])
def test_without_a_winner_that_finished(micro: Path, make_run, status: str) -> None:
    winner = None if status == "missing" else make_run(ConvNet(4, 1), [1.0], [1.0], status=status)
    finding = finding_of(context_of(micro, None, ("best", "convolution")), winner)
    assert (
        finding.numbers["agree"] == len(OPERATORS)
        and finding.numbers["network"]["verdict"] == "cannot tell"
    )
    assert "nothing can be said" in finding.sentence and not finding.numbers["shifts"]


def test_words_on_accuracy() -> None:
    def told(change: Between | None, images: int = 100) -> str:
        return TEXTS.change_words(Moved(4, Between(0.9, 0.8, 0.95), change), images)

    falls = "A shift by 4 pixels lowers accuracy by 2.0 points (1.0 to 3.0)."
    assert told(Between(-0.02, -0.03, -0.01)) == falls
    assert told(Between(0.02, 0.01, 0.03)) == falls.replace("lowers", "raises")
    assert told(Between(-0.02, -0.03, 0.01)).endswith(
        "by −2.0 points (−3.0 to 1.0), no difference that 100 images can show."
    )
    assert told(None, 1).endswith("does to accuracy is not known from 1 image.")
    assert "every image is judged as rightly or wrongly as before" in told(Between(0, 0, 0))


def sentences_of(finding: Finding) -> list[str]:
    told = [finding.sentence, *finding.paragraphs, *finding.proof]
    told += [shown.caption for shown in (*finding.tables, *finding.charts)]
    return [part for text in told for part in re.split(r"(?<=[.])\s", text)]


@pytest.mark.usefixtures("kept")
@pytest.mark.slow
def test_sentences_are_short(micro: Path, tmp_path: Path) -> None:
    run = trained(micro, tmp_path, ConvNet(4, 2, norm="batch"))
    finding = finding_of(context_of(micro, tmp_path / "s", ("best", "convolution")), run)
    for sentence in sentences_of(finding):
        assert len(sentence.split()) <= 40, sentence
