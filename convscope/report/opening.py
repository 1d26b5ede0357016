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
from convscope.words import count

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


STRONG_ACCURACY = 0.942  # of the strong recipe on CIFAR-10, three seeds (bench/strong.py)


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
    filters: of its convolutions; 0 where they are not known; fixed: those that are not learned.
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
    fixed: int
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
        *(filters_of(taken.model, shape, classes) if taken else (0, 0)),
        next((one.wrong for one in best.headlines), "") if taken and best is not None else "",
        stages_of(taken.model, shape, classes) if taken else [],
        error_chart(sized, taken),
        any(not one.scatter for one in [*sized, *([taken] if taken else [])]),
        answers,
        next_steps(about, findings, taken),
    )


def filters_of(model: Model, in_shape: tuple[int, int, int], classes: int) -> tuple[int, int]:
    """Of all convolutions, and how many of these are fixed; 0 where they are not known."""
    try:
        size = size_of(model, in_shape, classes)
    except UserError:  # a network of the user's own that is not trusted
        return 0, 0
    return size.filters, sum(one.filters for one in size.layers if one.kind == "Whiten")


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
    about: Mapping[str, Any], findings: Mapping[str, Finding], taken: Recommended | None = None
) -> list[tuple[str, str, str]]:
    """(head, text, command): the study that tells more, with its time; images; a strong recipe.

    taken: the network to take, which the strong recipe must be expected to beat.
    """
    hints = about.get("hints") or {}
    out = study_steps(about, findings, hints.get("whole"))
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
    time = hints.get("strong", "")
    if data is not None and time is not None and (taken is None or taken.high < STRONG_ACCURACY):
        text = strong_text(about.get("data") == "cifar10", taken, time)
        out.append(("Train the strong recipe", text, f"convscope train {data} --recipe strong"))
    return out


def study_steps(
    about: Mapping[str, Any], findings: Mapping[str, Finding], whole: Mapping[str, Any] | None
) -> list[tuple[str, str, str]]:
    """Studies that tell more: the rest of this one, what a time budget took away, a larger one."""
    if not about["complete"]:
        return [("Finish this study", "It was interrupted.", about["command"])]
    out, coming = [], about.get("next")
    open_ones = sum(not one.headline.told for one in answers_of(findings))
    gain = f"{count(open_ones, 'answer')} here {'is' if open_ones == 1 else 'are'} still open. "
    gain = gain if open_ones else ""
    if whole:
        text = f"{gain}The time budget left room for {whole['left']}.{takes(whole)}"
        out.append(("Ask the whole preset, without a time budget", text, whole["command"]))
        gain = ""
    if coming:
        text = f"{gain}More seeds, longer training and more sizes tell more.{takes(coming)}"
        out.append((f"Ask again with the preset {coming['preset']}", text, coming["command"]))
    return out


def takes(study: Mapping[str, Any]) -> str:
    return f" It takes about {study['time']} here." if study["time"] else ""


def strong_text(cifar10: bool, taken: Recommended | None, time: str) -> str:
    """What the strong recipe is expected to bring, on CIFAR-10 or on other images."""
    reached = f"{100 * STRONG_ACCURACY:.1f} %"
    beside = f"the network to take has {100 * taken.accuracy:.1f} % here" if taken else ""
    if cifar10:
        text = "It trains one network for accuracy. On these images it reached "
        text += f"{reached}, the mean of three seeds (bench/strong.py in convscope's repository)"
        text += f"; {beside}." if beside else "."
    else:
        text = "It trains one network for accuracy. What it reaches on these images is not known"
        text += f"; on CIFAR-10 it is {reached}." + (
            f" For comparison: {beside}." if beside else ""
        )
    return text + (f" It takes roughly {time} here, by its FLOPs." if time else "")


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
    return (
        "Collect more images",
        "Plan for twice as many: further the forecast does not reach. It is of plain networks "
        "without augmentation; what other networks gain is not measured.",
    )


def asked_data(command: str) -> str | None:
    """What the study's command names as its data."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    named = words[:2] == ["convscope", "study"] and len(words) > 2 and words[2][:1] != "-"
    file = named and words[2].endswith(".toml")  # which names the data inside
    return shlex.quote(words[2]) if named and not file else None
