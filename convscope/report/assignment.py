"""The assignment's questions in its order, each with the study's answers and where to look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from convscope.report.findings import Finding
from convscope.report.opening import Answer
from convscope.words import count

# the chapters' parts of the assignment (docs/assignment.md), in whose order a student reads
CHAPTERS = {
    "capacity": "Assignment: practice 1, underfitting and overfitting",
    "best": "Assignment: practice 1, the best configuration and the trials",
    "nonlinearity": "Assignment: practice 2, without nonlinear parts",
    "receptive_field": "Assignment: practice 3, a large field without a cascade",
    "convolution": "Assignment: theory 1 and 3, what a convolution is",
    "ordering": "Assignment: theory 2, the flatten order",
}
THEORY = ("convolution", "ordering")


@dataclass(frozen=True)
class Question:
    """A question of the assignment.

    asks: the report's questions that answer it; places: (words, id) on the page, of its chapter.
    """

    number: str
    chapter: str
    text: str
    asks: tuple[str, ...]
    places: tuple[tuple[str, str], ...]


QUESTIONS = (
    Question(
        "Practice 1 a",
        "capacity",
        "How do training and test loss change with the number of filters? "
        "How many parameters has each network?",
        ("How many filters are enough?",),
        (
            ("loss against filters", "capacity-loss_filters"),
            ("learning curves", "capacity-learning_curves"),
            ("networks and their parameters", "table-networks"),
        ),
    ),
    Question(
        "Practice 1 b",
        "best",
        "Which configuration has the lowest test error?",
        ("Which network is best?",),
        (("error against parameters", "best-pareto_parameters"), ("the best network", "best")),
    ),
    Question(
        "Practice 1 c",
        "best",
        "Which trials led there, and by which strategy?",
        (),
        (
            ("trials of the search", "table-trials"),
            ("configurations trained to the end", "table-candidates"),
            ("how this was found", "best-method"),
        ),
    ),
    Question(
        "Practice 2",
        "nonlinearity",
        "What happens without any nonlinear part? Does a larger network help then, and why?",
        ("Did nonlinearity matter?", "Does a larger linear network help?"),
        (
            ("the parts, measured", "table-parts"),
            ("accuracy without them", "nonlinearity-factorial"),
            ("why it is so", "nonlinearity-why"),
        ),
    ),
    Question(
        "Practice 3",
        "receptive_field",
        "One convolution goes straight to the output layer. Does it do better than the network of "
        "practice 1?",
        ("Does one wide layer do as well as a cascade?",),
        (
            ("what is gained", "receptive_field-effects"),
            ("the comparisons", "table-comparisons"),
            ("why it is so", "receptive_field-why"),
        ),
    ),
    Question(
        "Theory 1",
        "convolution",
        "Is each linear, shift-equivariant operator a convolution? Which input gives its filter?",
        ("Is a linear, shift-equivariant operator a convolution?",),
        (("the proof", "convolution-proof"), ("filters", "convolution-impulse_response")),
    ),
    Question(
        "Theory 2",
        "ordering",
        "How much does the order matter in which a map is flattened?",
        (
            "Does the flatten order matter, by proof?",
            "Does the flatten order matter, by experiment?",
        ),
        (
            ("why it is so", "ordering-why"),
            ("other orders", "table-orders"),
            ("the same network under another order", "table-exact"),
        ),
    ),
    Question(
        "Theory 3",
        "convolution",
        "What of ReLU, pooling that picks one pixel, a bias, and a full matrix?",
        ("Which operators are convolutions?",),
        (
            ("each operator", "table-operators"),
            ("counterexamples", "convolution-counterexamples"),
        ),
    ),
)


@dataclass(frozen=True)
class Asked:
    """A question with its answers; told: what stands there where no answer is a verdict's."""

    question: Question
    answers: list[Answer]
    told: str
    places: list[tuple[str, str]]


def asked_of(findings: Mapping[str, Finding], answers: Sequence[Answer]) -> list[Asked]:
    """Every question of the assignment: with the study's answers to it, links that lead somewhere.

    answers: as the opening has them, those that were not asked among them.
    """
    ids = set(places_of(findings))
    out = []
    for one in QUESTIONS:
        found = [answer for ask in one.asks for answer in answers_to(ask, answers)]
        kept = [(text, place) for text, place in one.places if (one.chapter, place) in ids]
        told = "" if one.asks else trials_of(findings)
        out.append(Asked(one, list(dict.fromkeys(found)), told, kept))
    return out


def answers_to(question: str, answers: Iterable[Answer]) -> Iterator[Answer]:
    """An answer of that question, or that of a chapter left out, which names it among others."""
    for answer in answers:
        told = answer.headline
        if told.question == question or (not answer.chapter and question in told.why):
            yield answer


def trials_of(findings: Mapping[str, Finding]) -> str:
    """As "5 configurations are trained to the end, 1 trial of the search among them."."""
    best = findings.get("best")
    rows = {table.name: len(table.rows) for table in best.tables} if best is not None else {}
    if "candidates" not in rows:
        return "No configurations are compared here."
    said = count(rows["candidates"], "configuration is", "configurations are")
    trials = f"; the search made {count(rows['trials'], 'trial')}" if rows.get("trials") else ""
    return f"{said} trained to the end{trials}."


def places_of(findings: Mapping[str, Finding]) -> Iterator[tuple[str, str]]:
    """(chapter, id) of the page's chapters, their charts, pictures, tables and parts."""
    tables: set[str] = set()
    for name, finding in findings.items():
        yield name, name
        for shown in (*finding.charts, *finding.galleries):
            yield name, f"{name}-{shown.name}"
        for table in finding.tables:
            if table.name not in tables:  # a second one so named has another id
                yield name, f"table-{table.name}"
            tables.add(table.name)
        parts = {"proof": finding.proof, "why": finding.explanation, "method": finding.method}
        for part, has in parts.items():
            if has:
                yield name, f"{name}-{part}"
