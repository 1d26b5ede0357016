"""Formulas in a text set as MathML; the alttext of each is the text that was there."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₙₛₜ₋₊", "0123456789ijknst−+", strict=True))
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ⁻⁺", "0123456789T−+", strict=True))
OPERATORS = "=+−∗·⇒⇔≤≥<>∈∉⊂∘↦→×±|/∎≠≈√Σ∀~"
BRACKETS = "()[]{}"
LETTERS = "xyzhijknmLNWUVSCKTHbgpqvefsδσηλπαβℤ"  # that stand for something; a and A are articles
LONG = 34  # letters; a longer formula may be broken before a relation at its top level
RELATIONS = "=⇒⇔≤≥<>≈↦→"
PLAIN = re.compile(r"[(−+±]*\d[\d.,]*(?:×\d[\d.,]*)*[)%]*")  # numbers of a text: (−4.8, 3×3
NAMES = ("argmax", "argmin", "softmax", "max", "min", "ln", "log", "exp", "round", "mean", "var")

WORD = re.compile(r"\S+")
TAIL = re.compile(r"[.,;:]+$")
MARKED = "".join((*SUBSCRIPTS, *SUPERSCRIPTS))
TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<number>\d+(?:[.,]\d+)*)|(?P<name>{'|'.join(NAMES)})(?![A-Za-z])"
    rf"|(?P<text>[A-Za-z]{{3,}})|(?P<letter>[^\W\d_{MARKED}])|(?P<sub>[{''.join(SUBSCRIPTS)}]+)"
    rf"|(?P<sup>[{''.join(SUPERSCRIPTS)}]+)|_(?P<low>\w)|\^(?P<high>[−\w]+)|(?P<other>.)"
)


def with_formulas(text: str) -> Markup:
    """A text, escaped, in which runs of formula words are MathML."""
    out: list[Markup] = []
    formula: list[str] = []
    place = depth = 0

    def close() -> None:
        if formula:
            whole = "".join(formula)
            body = whole.rstrip()
            parts = broken(body)
            out.append(Markup(" ").join(math(part) for part in parts) + whole[len(body) :])
            formula.clear()

    for match in WORD.finditer(text):
        gap, word = text[place : match.start()], match[0]
        tail = TAIL.search(word)
        body = word[: tail.start()] if tail and depth + opened(word) <= 0 else word
        if body and (depth > 0 or is_formula(body, bool(formula))):
            formula += [gap, body] if formula else [body]
            if len(formula) == 1:
                out.append(escape(gap))
            depth = max(0, depth + opened(body))
        else:
            close()
            out.append(escape(gap) + escape(body))
            depth = 0
        if body != word:
            close()
            out.append(escape(word[len(body) :]))
        place = match.end()
    close()
    return Markup("").join([*out, escape(text[place:])])


def broken(formula: str) -> list[str]:
    """A long formula in parts, between which a line may end: each but the first has a relation."""
    if len(formula) <= LONG:
        return [formula]
    parts: list[list[str]] = [[]]
    depth = 0
    for word in formula.split(" "):
        if depth == 0 and word in RELATIONS and parts[-1]:
            parts.append([])
        parts[-1].append(word)
        depth += opened(word)
    return [" ".join(part) for part in parts]


def opened(word: str) -> int:
    """How many brackets a word leaves open."""
    return sum(word.count(c) for c in "([{") - sum(word.count(c) for c in ")]}")


def is_formula(word: str, within: bool) -> bool:
    """Whether a word is part of a formula.

    within: a formula goes before it, so that operators, numbers and the letter a belong to it.
    """
    if all(c in OPERATORS for c in word):
        return within or word[0] in "Σ√|"
    if re.fullmatch(r"[\d.,]+", word) or PLAIN.fullmatch(word):
        return within
    runs = re.findall(r"[A-Za-z]+", word)
    if any(len(run) > 2 and run not in NAMES for run in runs):
        return False
    marked = any(c in word for c in f"{OPERATORS}[]_{MARKED}δσηλπα") or (
        re.search(r"\w\(", word) is not None
    )
    if any(len(run) == 2 and run not in NAMES for run in runs):
        return any(c in word for c in "[]")
    if marked:
        return word not in ("/", "|") and not re.fullmatch(r"\w/\w", word)
    return (word.strip("()") in LETTERS and len(word.strip("()")) == 1) or (
        within and word in "aAIE"
    )


def math(formula: str) -> Markup:
    """A formula as a MathML element."""
    items: list[str] = []
    for token in TOKEN.finditer(formula):
        kind, text = token.lastgroup or "other", token[token.lastgroup or 0]
        if kind in ("sub", "low", "sup", "high"):
            attach(items, "msub" if kind in ("sub", "low") else "msup", text)
            continue
        items.append(str(element(kind, text)))
    return Markup('<math alttext="{}">{}</math>').format(formula, Markup("".join(items)))


def element(kind: str, text: str) -> Markup:
    if kind == "space":
        return Markup(" ")
    if kind == "number":
        return Markup("<mn>{}</mn>").format(text)
    if kind in ("name", "letter"):
        return Markup("<mi>{}</mi>").format(text)
    if kind == "text":
        return Markup("<mtext>&nbsp;{}&nbsp;</mtext>").format(text)
    stretched = ' stretchy="false"' if text in f"{BRACKETS}|" else ""
    return Markup(f"<mo{stretched}>{{}}</mo>").format(text)


def attach(items: list[str], tag: str, text: str) -> None:
    """Put an index or a power on the last item."""
    known = SUBSCRIPTS if tag == "msub" else SUPERSCRIPTS
    plain = "".join(known.get(c, c) for c in text)
    base = items.pop() if items and items[-1] != " " else "<mrow></mrow>"
    marks = re.findall(r"\d+|[^\d]", plain)
    row = "".join(str(element(kind_of(mark), mark)) for mark in marks)
    items.append(f"<{tag}>{base}<mrow>{row}</mrow></{tag}>")


def kind_of(mark: str) -> str:
    return "number" if mark.isdigit() else "letter" if mark.isalpha() else "other"
