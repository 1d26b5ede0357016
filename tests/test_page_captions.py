"""What captions say of seeds and intervals is true of the panels below which they stand."""

from __future__ import annotations

from types import SimpleNamespace as Made
from typing import Any

import pytest

from convscope.chapters.capacity.charts import CAPTIONS, panels_without_scatter
from convscope.chapters.nonlinearity.words import TEXTS
from convscope.chapters.receptive_field.words import TEXTS as FIELD
from convscope.recipe import ConvNet
from convscope.report.findings import Finding, Recommended, Sized
from convscope.report.opening import opening_of
from convscope.statistics.estimation import estimates

ABOUT = {"in_shape": (3, 8, 8), "classes": ["a", "b"], "command": "", "complete": True}


def one(known: bool) -> Any:
    class Network:
        test_loss = Made(scatter_known=known)

    return Network()


@pytest.mark.parametrize(
    ("panels", "alone"),
    [
        ([("a", True), ("a", True), ("b", False)], ["b"]),
        ([("a", True), ("a", False), ("b", False)], []),  # one panel is mixed: none is named
        ([("a", True), ("b", True)], []),
        ([("a", False), ("b", False)], ["a", "b"]),
    ],
)
def test_panels_without_the_scatter_of_seeds_are_named(
    panels: list[tuple[str, bool]], alone: list[str]
) -> None:
    drawn: Any = {(i, one(known)): name for i, (name, known) in enumerate(panels)}
    assert panels_without_scatter(drawn) == alone
    known = [known for _, known in panels]
    said = CAPTIONS.loss_caption(known, alone)
    assert ("together" in said) == any(known) and ("alone" in said) != all(known)
    assert ("on b from the finite evaluated set alone" in said) == (alone == ["b"])


@pytest.mark.parametrize("known", [[False, False], [True, True], [False, True]])
def test_bars_say_whose_scatter_is_known(known: list[bool]) -> None:
    for said in (
        TEXTS.arms_chart_caption(known),
        FIELD.effects_caption(known),
        FIELD.accuracy_caption(known),
    ):
        assert ("from the finite test set alone" in said) == (False in known)
        assert ("from seeds and the finite test set together" in said) == (True in known)
        assert ("one seed" in said) == (False in known) and said.count("Bars") == 1
    assert "did not learn" in TEXTS.effects_chart_caption(True, False)
    assert "did not learn" not in TEXTS.effects_caption(2, True)


def test_a_pooled_scatter_is_known_of_one_seed_too() -> None:
    found = estimates({"a": [0.5, 0.6], "b": [0.5]}, {"a": 0.01, "b": 0.01})
    assert found["b"].n == 1 and found["b"].scatter_known
    assert not estimates({"b": [0.5]}, {"b": 0.01})["b"].scatter_known


@pytest.mark.parametrize("scatter", [True, False])
def test_the_first_chart_says_what_its_bars_lack(scatter: bool) -> None:
    net = ConvNet(4, 1)
    taken = Recommended(net, 0.5, 0.4, 0.6, 2, 100, 1000, "It is.")
    sized = tuple(Sized(ConvNet(w, 1), 50 * w, w, 0.5, 0.4, 0.6, "", scatter) for w in (4, 8))
    found = Finding("capacity", "C", "?", "", "", {}, recommended=taken, sized=sized)
    assert opening_of(ABOUT, {"capacity": found}).no_scatter != scatter
