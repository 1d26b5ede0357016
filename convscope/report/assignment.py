"""The assignment's questions in its order, each with the study's answers and where to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.recipe import label_of
from convscope.report.findings import BestResult, Finding
from convscope.report.opening import Answer
from convscope.words import texts_beside

TEXTS = texts_beside(__file__, "assignment.jinja")

Findings = Mapping[str, Finding]

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
            ("the proof", "ordering-proof"),
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
    """A question with its answers; told: what was found, in the question's words."""

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
        out.append(Asked(one, list(dict.fromkeys(found)), told_of(one, findings), kept))
    return out


def answers_to(question: str, answers: Iterable[Answer]) -> Iterator[Answer]:
    """An answer of that question, or that of a chapter left out, which names it among others."""
    for answer in answers:
        told = answer.headline
        if told.question == question or (not answer.chapter and question in told.why):
            yield answer


def told_of(question: Question, findings: Mapping[str, Finding]) -> str:
    """What the study found, in the question's words; empty where it found nothing."""
    if question.chapter not in findings:
        return "" if question.asks else TEXTS.no_trials()
    tell = TELLS.get(question.number)
    return tell(findings) if tell is not None else ""


def losses_of(findings: Findings) -> str:
    """How losses go with filters, of the networks on most images."""
    found = networks_of(findings)
    images = max(found, default=0)
    networks = found.get(images, [])
    if not networks:
        return ""
    by_size = sorted(networks, key=lambda one: (one["filters"], one["parameters"]))
    lowest = min(networks, key=lambda one: one["best"]["test_loss"]["mean"])
    words = [one["verdict"].split()[0] for one in networks]
    kinds = words.count("underfits"), words.count("overfits"), words.count("cannot")
    fewer = [
        (n, len(some), over)
        for n, some in sorted(found.items())
        if n < images and (over := sum(one["verdict"].startswith("overfits") for one in some))
    ]
    ends = by_size[0], by_size[-1]
    sample = findings["capacity"].numbers.get("train_sample")
    return TEXTS.losses(len(networks), images, *ends, lowest, *kinds, fewer, sample)


def networks_of(findings: Findings) -> dict[int, list[dict[str, Any]]]:
    """The capacity chapter's networks, by number of training images."""
    out: dict[int, list[dict[str, Any]]] = {}
    for one in findings["capacity"].numbers.get("networks", ()) if "capacity" in findings else ():
        out.setdefault(one["images"], []).append(one)
    return out


def lowest_of(findings: Findings) -> str:
    """The lowest test error, that of the plain networks, and what later questions take apart."""
    best = findings["best"].numbers
    if "winner_label" not in best:  # no run to the end is there
        return ""
    found = networks_of(findings)
    sweep = found.get(max(found, default=0), [])
    plain = min(sweep, key=lambda one: one["best"]["val_loss"]["mean"], default=None)
    below = findings.get("nonlinearity")
    other = below.numbers.get("network") if below is not None else None
    gives = findings["best"].gives
    own = label_of(gives.winner.model) if isinstance(gives, BestResult) else best["winner_label"]
    return TEXTS.lowest(best, plain, None if other == own else other)


def trials_of(findings: Findings) -> str:
    """By which sizes, and how many trials."""
    rows = {table.name: len(table.rows) for table in findings["best"].tables}
    if "candidates" not in rows:
        return TEXTS.no_trials()
    found = networks_of(findings)
    widths = sorted({one["width"] for one in found.get(max(found, default=0), [])})
    return TEXTS.trials(widths, rows["candidates"], rows.get("trials"))


def parts_of(findings: Findings) -> str:
    """Which parts are nonlinear, and how accurate the network is with and without them."""
    numbers = findings["nonlinearity"].numbers
    if "full_accuracy" not in numbers:
        return ""
    kinds = Counter(part["kind"] for part in numbers["components"] if not part["affine"])
    accuracies = numbers["full_accuracy"], numbers["linear_accuracy"]
    return TEXTS.parts(numbers["network"], kinds, *accuracies)


def single_of(findings: Findings) -> str:
    """The best single layer with either head, and the network that they are compared with."""
    numbers = findings["receptive_field"].numbers
    if "question_1" not in numbers:
        return ""
    question = numbers["question_1"]
    by_name = {one["network"]: one for one in numbers["arms"]}
    single = [one for one in numbers["arms"] if one["depth"] == 1]

    def best(head: str) -> dict[str, Any] | None:
        alike = [one for one in single if one["head"] == head and "means of" not in one["network"]]
        return min(alike, key=lambda one: one["val_loss"], default=None)

    names = question.get("single_layer"), question.get("network")
    return TEXTS.single(best("flatten"), best("gap"), *(by_name.get(name) for name in names))


LETTERS = {
    "a": "ReLU",
    "b": "strided pooling that always picks the top-right pixel",
    "c": "adding a constant bias",
    "d": "multiplication with a full matrix",
}


def operators_of(findings: Findings) -> str:
    """Whether each operator that the assignment names is linear, and equivariant."""
    tables = {table.name: table for table in findings["convolution"].tables}
    rows = tables["operators"].rows if "operators" in tables else []
    by_name = {row["operator"]: row for row in rows}
    return TEXTS.operators({key: by_name[n] for key, n in LETTERS.items() if n in by_name})


TELLS: Mapping[str, Callable[[Findings], str]] = {
    "Practice 1 a": losses_of,
    "Practice 1 b": lowest_of,
    "Practice 1 c": trials_of,
    "Practice 2": parts_of,
    "Practice 3": single_of,
    "Theory 1": lambda findings: TEXTS.impulse(),
    "Theory 2": lambda findings: TEXTS.order(),
    "Theory 3": operators_of,
}


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
