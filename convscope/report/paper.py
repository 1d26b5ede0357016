"""What a paper, a pull request or a README takes from a study: the folder paper/ beside the page.

summary.md, every table as tables/CHAPTER-NAME.csv and .tex, method.md and method.tex, study.bib.
The charts are in charts/, as SVG and PNG.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.files import write_bytes
from convscope.report.citing import bibtex, method
from convscope.report.files import safe_cell
from convscope.report.latex import latex, latex_table
from convscope.report.markdown import summary


def write_paper(folder: Path, tree: Mapping[str, Any]) -> None:
    """Write all files of the folder; `tree` is that of results.json.

    `convscope report` makes them again, so the disk is not waited for.
    """
    told = method(tree)
    files = {
        "summary.md": summary(tree),
        "method.md": f"{told}\n",
        "method.tex": f"{latex(told)}\n",
        "study.bib": bibtex(tree),
    }
    for chapter, found in tree["chapters"].items():
        for table in found["tables"]:
            stem = table_stem(chapter, table["name"])
            files[f"tables/{stem}.csv"] = csv_table(table)
            files[f"tables/{stem}.tex"] = latex_table(table, f"tab:{stem}")
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_bytes(folder / name, text.encode("utf-8", "backslashreplace"), sync=False)


def table_stem(chapter: str, name: str) -> str:
    """The name of a table's files, without their ending."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{chapter}-{name}")


def csv_table(table: Mapping[str, Any]) -> str:
    """A table's values as they are, in full, under its headings."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([safe_cell(heading) for _, heading, _ in table["columns"]])
    for row in table["rows"]:
        writer.writerow([safe_cell(row.get(key)) for key, _, _ in table["columns"]])
    return file.getvalue()
