"""What captions say of seeds and intervals is true of the panels below which they stand."""

from __future__ import annotations

from types import SimpleNamespace as Made
from typing import Any

import pytest

from convscope.chapters.capacity.charts import CAPTIONS, panels_of_one_seed
from convscope.chapters.nonlinearity.words import TEXTS
from convscope.recipe import ConvNet
from convscope.report.findings import Finding, Recommended, Sized
from convscope.report.opening import opening_of

ABOUT = {"in_shape": (3, 8, 8), "classes": ["a", "b"], "command": "", "complete": True}


def one(seeds: int) -> Any:
    class Network:
        test_loss = Made(n=seeds)

    return Network()


@pytest.mark.parametrize(
    ("panels", "alone"),
    [
        ([("a", 2), ("a", 2), ("b", 1)], ["b"]),
        ([("a", 2), ("a", 1), ("b", 1)], []),  # one panel is mixed: none is named
        ([("a", 3), ("b", 2)], []),
    ],
)
def test_panels_of_one_seed_are_named(panels: list[tuple[str, int]], alone: list[str]) -> None:
    drawn: Any = {(i, one(seeds)): name for i, (name, seeds) in enumerate(panels)}
    assert panels_of_one_seed(drawn) == alone
    said = CAPTIONS.loss_caption([seeds for _, seeds in panels], alone)
    least, most = min(n for _, n in panels), max(n for _, n in panels)
    assert ("together" in said) == (most > 1) and ("alone" in said) == (least == 1)
    assert not alone or f"On {alone[0]} there is one seed of each network" in said


@pytest.mark.parametrize("seeds", [[1, 1], [2, 2], [1, 2]])
def test_bars_of_arms_say_whose_seeds_are_known(seeds: list[int]) -> None:
    said = TEXTS.arms_chart_caption(seeds)
    assert ("from the finite test set alone" in said) == (1 in seeds)
    assert ("from seeds and the finite test set together" in said) == (2 in seeds)
    assert ("one seed" in said) == (1 in seeds) and said.count("Bars") == 1
    assert ("did not learn" in TEXTS.effects_chart_caption(True, False)) is True
    assert "did not learn" not in TEXTS.effects_caption(2, True)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_first_chart_says_whether_a_network_has_one_seed(seeds: int) -> None:
    net = ConvNet(4, 1)
    taken = Recommended(net, 0.5, 0.4, 0.6, 2, 100, 1000, "It is.")
    sized = tuple(Sized(ConvNet(w, 1), 50 * w, w, 0.5, 0.4, 0.6, "", seeds) for w in (4, 8))
    found = Finding("capacity", "C", "?", "", "", {}, recommended=taken, sized=sized)
    assert opening_of(ABOUT, {"capacity": found}).one_seed == (seeds == 1)
