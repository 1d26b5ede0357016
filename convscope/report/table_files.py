"""A table as files and texts that papers, programs and terminals take."""

from __future__ import annotations

import csv
import io

from convscope.report.files import safe_cell
from convscope.report.findings import Table
from convscope.report.page import cell

RIGHT = ("int", "loss", "percent", "float", "seconds")  # formats that stand at the right

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
}


def table_csv(table: Table) -> str:
    """Every value with all its digits, keys as the heading."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    keys = list(dict.fromkeys([key for key, _, _ in table.columns]))
    writer.writerow(keys)
    writer.writerows([safe_cell(row.get(key)) for key in keys] for row in table.rows)
    return file.getvalue()


def table_latex(table: Table) -> str:
    """A tabular that needs no package, with its caption as a comment above."""
    forms = "".join("r" if form in RIGHT else "l" for _, _, form in table.columns)
    heading = " & ".join(latex(heading) for _, heading, _ in table.columns)
    lines = [
        " & ".join(latex(cell(row.get(key), form)) for key, _, form in table.columns)
        for row in table.rows
    ]
    body = [f"{line} \\\\" for line in lines]
    said = f"% {table.caption}"
    parts = [f"\\begin{{tabular}}{{{forms}}}", "\\hline", f"{heading} \\\\", "\\hline", *body]
    return "\n".join([said, *parts, "\\hline", "\\end{tabular}", ""])


def latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def table_markdown(table: Table) -> str:
    """A table of Markdown, as GitHub shows it, and its caption below."""
    heading = " | ".join(markdown(heading) for _, heading, _ in table.columns)
    marks = " | ".join("---:" if form in RIGHT else "---" for _, _, form in table.columns)
    lines = [
        " | ".join(markdown(cell(row.get(key), form)) for key, _, form in table.columns)
        for row in table.rows
    ]
    return "\n".join(f"| {line} |" for line in (heading, marks, *lines)) + f"\n\n{table.caption}\n"


def markdown(text: str) -> str:
    escaped = (f"\\{sign}" if sign in "\\|<*_`[" else sign for sign in text)
    return "".join(escaped)


def table_text(table: Table) -> str:
    """Aligned columns under their headings."""
    heads = [heading for _, heading, _ in table.columns]
    cells = [[cell(row.get(key), form) for key, _, form in table.columns] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    right = [form in RIGHT for _, _, form in table.columns]
    return "\n".join(
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in (heads, *cells)
    )
