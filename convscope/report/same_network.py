"""One network that several chapters train, each in its own way, and so to other accuracies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.recipe import model_from_json, short_label_of
from convscope.report.findings import Finding
from convscope.report.naming import Names
from convscope.report.prose import alternatives
from convscope.words import count, listed, share

# what makes a training another one; a rate is found for each and is no way of its own
WAY = ("epochs", "limit", "schedule", "optimizer", "batch", "flip", "crop", "label_smoothing")


@dataclass(frozen=True)
class Trained:
    """How a chapter trains a network: the mean of its runs on most images.

    images: of the training split; None: all of them.
    """

    accuracy: float
    epochs: int
    images: int | None
    way: tuple[Any, ...]


def notes_of(
    findings: Mapping[str, Finding], runs: Sequence[Mapping[str, Any]], names: Names
) -> dict[str, list[str]]:
    """By chapter a sentence for each network of its answer that an earlier chapter trains, too.

    findings: by chapter, in the page's order.
    runs: of results.json.
    names: of the study's networks.
    """
    by_network: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for run in runs:
        if run["pilot"] or not run["best"] or run["best"].get("test_accuracy") is None:
            continue
        short = short_label_of(model_from_json(run["model"]))
        for chapter in run["chapters"]:
            by_network.setdefault(short, {}).setdefault(chapter, []).append(run)
    out: dict[str, list[str]] = {}
    order = list(findings)
    for here, finding in findings.items():
        said = " ".join((finding.sentence, *(told.text for told in finding.headlines)))
        for short in named_in(said, names):
            known = by_network.get(short, {})
            told = [(name, trained(known[name])) for name in order if name in known]
            told = told[: 1 + next((i for i, (name, _) in enumerate(told) if name == here), -1)]
            if len({one.way for _, one in told}) > 1:
                out.setdefault(here, []).append(sentence_of(short, told, findings))
    return out


def named_in(text: str, names: Names) -> list[str]:
    """The short names of the networks that a text names, in full or in short, each once."""
    plain = names.plain(text)
    return list(dict.fromkeys(re.findall(rf"(?<!\w){alternatives(names.full)}(?![\w×+])", plain)))


def trained(runs: Sequence[Mapping[str, Any]]) -> Trained:
    def images(run: Mapping[str, Any]) -> float:
        return run["recipe"].get("limit") or float("inf")

    most = max(map(images, runs))
    last = [run for run in runs if images(run) == most]
    accuracies = [run["best"]["test_accuracy"] for run in last]
    recipe = last[0]["recipe"]
    return Trained(
        sum(accuracies) / len(accuracies),
        last[0]["epochs"],
        recipe.get("limit"),
        tuple(repr(recipe.get(key)) for key in WAY),
    )


def sentence_of(
    short: str, told: Sequence[tuple[str, Trained]], findings: Mapping[str, Finding]
) -> str:
    """As "Each chapter trains C8·3 in its own way: it has 61.2 % in Capacity (7 epochs) and …"."""
    several = len({one.images for _, one in told}) > 1
    here = told[-1][0]

    def part(name: str, one: Trained) -> str:
        place = "here" if name == here else f"in {findings[name].title}"
        images = f" on {one.images:,} images" if one.images else " on all images"
        how = count(one.epochs, "epoch") + (images if several else "")
        return f"{share(one.accuracy)} {place} ({how})"

    return (
        f"Each chapter trains {short} in its own way, so its test accuracy differs: "
        f"{listed(part(*one) for one in told)}."
    )
