"""The page's first screen: the network to take, the answers, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.errors import UserError
from convscope.models import size_of
from convscope.recipe import Model, label_of, short_label_of
from convscope.report.diagram import Stage, stages_of
from convscope.report.error_chart import ErrorChart, error_chart
from convscope.report.findings import Finding, Headline, Recommended

BADGES = {
    "proved": "proved",
    "measured": "measured",
    "sure": "tested: sure",
    "fairly sure": "tested: fairly sure",
    "forecast": "forecast",
    "one seed": "cannot tell: one seed",
    "cannot tell": "cannot tell",
    "not asked": "not asked",
}

# the questions that most readers come with stand first
FIRST = (
    "How many filters are enough?",
    "Which network is best?",
    "Would more images help?",
    "Did nonlinearity matter?",
)


@dataclass(frozen=True)
class Answer:
    """An answer of the first screen: of a chapter, with the badge's word and its colour's key.

    missing: whether evidence is missing, so that the badge is grey.
    command: asks a question that was not asked, in so much time; "" where that is not known.
    """

    chapter: str
    headline: Headline
    badge: str
    key: str
    missing: bool
    command: str = ""
    time: str = ""


@dataclass(frozen=True)
class Opening:
    """What the first screen shows.

    choice: the answer that says how sure the network to take is the one; None where none does.
    taken: the network to take, with its names and stages; None where the study recommends none.
    filters: of its convolutions; 0 where they are not known.
    wrong: what it would cost if another network were better; empty where that is not said.
    chart: of error against parameters; no_scatter: whether what seeds differ by is missing
        in an interval.
    next: what to do, (head, text, command) each.
    """

    choice: Answer | None
    taken: Recommended | None
    short: str
    full: str
    filters: int
    wrong: str
    stages: list[Stage]
    chart: ErrorChart | None
    no_scatter: bool
    answers: list[Answer]
    next: list[tuple[str, str, str]]


def opening_of(about: Mapping[str, Any], findings: Mapping[str, Finding]) -> Opening:
    """about: what study.json says of the study; findings: by chapter."""
    best, capacity = findings.get("best"), findings.get("capacity")
    taken = best.recommended if best is not None else None
    if taken is None and capacity is not None and (best is None or not best.gives):
        taken = capacity.recommended
    shape, classes = tuple(about["in_shape"]), len(about["classes"])
    sized = next((found.sized for found in findings.values() if found.sized), ())
    answers = answers_of(findings, about.get("unasked", ()))
    by = "best" if best is not None and best.recommended is taken else "capacity"
    return Opening(
        next((one for one in answers if taken and one.chapter == by), None),
        taken,
        short_label_of(taken.model) if taken else "",
        label_of(taken.model) if taken else "",
        filters_of(taken.model, shape, classes) if taken else 0,
        next((one.wrong for one in best.headlines), "") if taken and best is not None else "",
        stages_of(taken.model, shape, classes) if taken else [],
        error_chart(sized, taken),
        any(not one.scatter for one in [*sized, *([taken] if taken else [])]),
        answers,
        next_steps(about, findings),
    )


def filters_of(model: Model, in_shape: tuple[int, int, int], classes: int) -> int:
    try:
        return size_of(model, in_shape, classes).filters
    except UserError:  # a network of the user's own that is not trusted
        return 0


def answers_of(
    findings: Mapping[str, Finding], unasked: Sequence[Mapping[str, Any]] = ()
) -> list[Answer]:
    """Of all chapters; those that most readers come for first, a chapter without any by verdict.

    unasked: the questions that the study did not ask, as `studies/unasked.py` says.
    """
    out = []
    asks = {one["question"]: one for one in unasked}
    for name, finding in findings.items():
        told = finding.headlines or (verdict_as_headline(finding),)
        for headline in told:
            missing = bool(finding.missing)
            key = "unknown" if missing or not headline.told else headline.sure.replace(" ", "-")
            how = asks.pop(headline.question, {})
            way = how.get("command", ""), how.get("time", "")
            out.append(Answer(name, headline, BADGES[headline.sure], key, missing, *way))
    for question, one in asks.items():  # of chapters that were left out
        headline = Headline(question, one["why"], "not asked", " ".join(one["more"]))
        way = one["command"], one["time"]
        out.append(Answer("", headline, BADGES["not asked"], "unknown", False, *way))
    order = {question: i for i, question in enumerate(FIRST)}
    return sorted(out, key=lambda one: order.get(one.headline.question, len(FIRST)))


def verdict_as_headline(finding: Finding) -> Headline:
    """For a finding that says no more."""
    sure = "cannot tell" if finding.verdict.startswith("cannot tell") else "measured"
    return Headline(finding.title, finding.verdict, sure, "")


def next_steps(
    about: Mapping[str, Any], findings: Mapping[str, Finding]
) -> list[tuple[str, str, str]]:
    """(head, text, command): the study that tells more, with its time; images; a strong recipe."""
    out = []
    coming = about.get("next")
    if not about["complete"]:
        out.append(("Finish this study", "It was interrupted.", about["command"]))
    elif coming:
        time = f" It takes about {coming['time']} here." if coming["time"] else ""
        open_ones = sum(not one.headline.told for one in answers_of(findings))
        gain = f"{open_ones} of the answers here cannot be told yet." if open_ones else ""
        text = f"{gain} More seeds, longer training and more sizes tell more.{time}".strip()
        out.append((f"Ask again with the preset {coming['preset']}", text, coming["command"]))
    image_words = [
        told.sure == "forecast" and told.text.startswith("Yes")
        for finding in findings.values()
        for told in finding.headlines
        if told.question == "Would more images help?" and told.told
    ]
    if image_words:
        head, why = images_step(image_words[0], about, findings["capacity"])
        out.append((head, why, ""))
    data = asked_data(about["command"])
    if data is None and about.get("data") == "cifar10":  # which is meant where none is named
        data = "cifar10"
    if data is not None:
        text = (
            "The named recipe trains for accuracy; on CIFAR-10 it reaches 94.2 % in about 12 "
            "minutes on two cores."
        )
        out.append(("Train the strong recipe", text, f"convscope train {data} --recipe strong"))
    return out


def images_step(helps: bool, about: Mapping[str, Any], capacity: Finding) -> tuple[str, str]:
    """(head, text) of what to do about images. helps: whether more of them would help."""
    used, there = max(capacity.numbers["images"]), about["images"]["train"]
    if not helps:
        return (
            "Leave the images as they are",
            "Look for gains in the network or its training first.",
        )
    if used < there:
        return (
            "Use all images",
            f"No network here was trained on more than {used:,} of the {there:,} training images. "
            "A larger preset, or no time budget, trains on all.",
        )
    return "Collect more images", "Plan for twice as many: further the forecast does not reach."


def asked_data(command: str) -> str | None:
    """What the study's command names as its data."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    named = words[:2] == ["convscope", "study"] and len(words) > 2 and words[2][:1] != "-"
    file = named and words[2].endswith(".toml")  # which names the data inside
    return shlex.quote(words[2]) if named and not file else None
