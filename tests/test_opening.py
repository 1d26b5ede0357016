"""The first screen: numbers that no line is broken in, filters that are fixed."""

from __future__ import annotations

import pytest

from convscope.models import size_of
from convscope.recipe import ConvNet
from convscope.report.naming import Names
from convscope.report.opening import filters_of
from convscope.report.prose import Prose


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the same to 6e-16.", "the same to 6e−16."),
        (
            "67.9 % right (95 %: 67.1 % to 68.8 %)",
            "67.9\xa0% right (95\xa0%: 67.1\xa0% to 68.8\xa0%)",
        ),
        ("within ± 3 points", "within ±\xa03 points"),
        ("a 2-1 split, e-mail, 100% and 3 e-books", "a 2-1 split, e-mail, 100% and 3 e-books"),
    ],
)
@pytest.mark.parametrize("formulas", [True, False])
def test_no_line_is_broken_in_a_number(text: str, shown: str, formulas: bool) -> None:
    html = str(Prose(Names([]), []).html(text, formulas=formulas))
    assert "math" in html or html == shown


def test_of_all_filters_those_of_a_whitening_stem_are_fixed() -> None:
    shape = (3, 16, 16)
    for stem, fixed in (("none", 0), ("whiten", 24)):
        model = ConvNet(4, 2, norm="batch", stem=stem)
        assert filters_of(model, shape, 10) == (size_of(model, shape, 10).filters, fixed)
    learned = filters_of(ConvNet(4, 2), shape, 10)[0]
    assert filters_of(ConvNet(4, 2, stem="whiten"), shape, 10)[0] == learned + 24
