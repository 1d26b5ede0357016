"""`convscope compare STUDY STUDY --page FILE`: the page of two studies side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.cli.printing import say
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.statistics import Comparison


@contextlib.contextmanager
def side_by_side(page: Path | None, a: str, b: str) -> Iterator[list[Comparison]]:
    """Take the comparison of the winners into the list that is given, and write the page.

    Where the winners cannot be compared, the page says why, and the error goes on.

    page: the file; None: there is no page.
    a, b: the folders of two studies.
    Raises UserError where one is no study, or the file cannot be written.
    """
    found: list[Comparison] = []
    if page is None:
        yield found
        return
    for name, given in (("A", a), ("B", b)):
        if not (Path(given) / "study.json").is_file():
            raise UserError(f"{name}: {one_line(given)!r} is no study; --page shows two studies")
    if page.is_dir() or not page.absolute().parent.is_dir():
        raise UserError(f"page {one_line(page)!r}: must be a file in a folder that is there")
    from convscope.files import write_bytes
    from convscope.report import page_of_two, read_both

    studies = read_both(Path(a), Path(b))
    why_not = ""
    try:
        yield found
    except UserError as error:
        why_not = str(error)
        raise
    finally:
        if found or why_not:
            rows = found[0].rows() if found else []
            write_bytes(page, page_of_two(studies, (a, b), rows, why_not))
            say(f"page: {one_line(page)} ({studies.told})")
