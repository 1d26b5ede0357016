"""Texts and tables as LaTeX, for a paper; every text from outside is escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from convscope.errors import one_line
from convscope.report.page import cell

LONG = 40  # rows; a longer table may break over pages

# what LaTeX takes for a command, and signs that its usual fonts lack
SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "‘": r"\textquoteleft{}",
    "’": "'",
    "\u00a0": "~",
    "\u202f": r"\,",
}
IN_MATHS = {
    "×": r"\times",
    "−": "-",
    "±": r"\pm",
    "·": r"\cdot",
    "→": r"\to",
    "←": r"\leftarrow",
    "↦": r"\mapsto",
    "⇒": r"\Rightarrow",
    "⇔": r"\Leftrightarrow",
    "≤": r"\le",
    "≥": r"\ge",
    "≈": r"\approx",
    "≠": r"\ne",
    "√": r"\surd",
    "∗": r"\ast",
    "∘": r"\circ",
    "∈": r"\in",
    "∉": r"\notin",
    "⊂": r"\subset",
    "∞": r"\infty",
    "½": r"\frac{1}{2}",
    "Σ": r"\Sigma",
    "α": r"\alpha",
    "β": r"\beta",
    "δ": r"\delta",
    "ε": r"\epsilon",
    "λ": r"\lambda",
    "μ": r"\mu",
    "π": r"\pi",
    "σ": r"\sigma",
}
LIFTED = {"<super>": "^", "<sub>": "_"}  # as Unicode's own decompositions name them

PREAMBLE = (
    "% Written by convscope. In the preamble: \\usepackage{booktabs,longtable}.\n"
    "% A script other than Latin needs XeLaTeX or LuaLaTeX.\n"
)


def latex(text: object) -> str:
    """A text for LaTeX, on one line: nothing in it is a command."""
    return "".join(map(sign, one_line(text, 5000)))


def sign(one: str) -> str:
    """A character as LaTeX sets it."""
    if one in SIGNS:
        return SIGNS[one]
    if one in IN_MATHS:
        return f"${IN_MATHS[one]}$"
    kind, _, code = unicodedata.decomposition(one).partition(" ")
    if kind in LIFTED and code and " " not in code:
        plain = chr(int(code, 16))
        inner = IN_MATHS.get(plain, plain if plain.isascii() else "")
        return f"${LIFTED[kind]}{{{inner}}}$" if inner else one
    return one


def latex_table(table: Mapping[str, Any], label: str) -> str:
    """A table of results.json with booktabs' rules; one of many rows may break over pages.

    table: as in results.json; label: what \\ref finds it by.
    """
    columns: Sequence[tuple[str, str, str]] = table["columns"]
    heading = " & ".join(latex(text) for _, text, _ in columns) + r" \\"
    rows = [
        " & ".join(latex(cell(row.get(key), form)) for key, _, form in columns) + r" \\"
        for row in table["rows"]
    ]
    form = "".join("l" if kind == "text" else "r" for _, _, kind in columns)
    caption = f"\\caption{{{latex(table['title'])}}}\\label{{{label}}}"
    note = f"% {one_line(table['caption'], 5000)}\n" if table["caption"] else ""
    body = "\n".join(rows)
    if len(rows) > LONG:
        inside = f"{heading}\n\\midrule\n\\endhead\n{body}\n\\bottomrule"
        return (
            f"{PREAMBLE}{note}\\begin{{longtable}}{{{form}}}\n{caption} \\\\\n\\toprule\n{inside}\n"
            "\\end{longtable}\n"
        )
    return (
        f"{PREAMBLE}{note}\\begin{{table}}\n\\centering\n{caption}\n\\begin{{tabular}}{{{form}}}\n"
        f"\\toprule\n{heading}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )
