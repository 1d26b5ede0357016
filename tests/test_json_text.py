"""JSON that people may look at: as the library indents it, but with a line for each row of many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.files import LONG, indented, write_json

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
leaves |= st.floats(allow_nan=False, allow_infinity=False)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(tree=trees, step=st.sampled_from((1, 2)))
def test_short_lists_are_set_as_the_library_sets_them(tree: Any, step: int) -> None:
    assert indented(tree, " " * step) == json.dumps(tree, indent=step)


def test_a_long_list_has_a_line_for_each_item(tmp_path: Path) -> None:
    rows = [{"id": f"{i}", "model": {"width": i, "pool_sizes": [1, 2]}} for i in range(LONG)]
    write_json(tmp_path / "runs.json", {"schema": 1, "runs": rows})
    text = (tmp_path / "runs.json").read_text()
    assert json.loads(text) == {"schema": 1, "runs": rows}
    assert len(text.splitlines()) == LONG + 5  # two braces, two brackets, the schema
    assert '\n    {"id": "7", "model": {"width": 7, "pool_sizes": [1, 2]}},\n' in text


@pytest.mark.parametrize("tree", [float("nan"), [float("inf")], {"rows": [[float("nan")]] * LONG}])
def test_what_is_no_json_is_not_written(tree: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "runs.json", tree)
    assert not list(tmp_path.iterdir())
