"""One network with several accuracies: the page says why where a reader meets the second one."""

from __future__ import annotations

from typing import Any

from convscope.recipe import ConvNet, label_of, model_from_json, short_label_of, to_json
from convscope.report.findings import Finding, Headline
from convscope.report.naming import Names
from convscope.report.same_network import notes_of

NET, OTHER = ConvNet(4, 2), ConvNet(8, 2)


def run(chapters: list[str], model: ConvNet, accuracy: float, epochs: int, **more: Any) -> Any:
    pilot = more.pop("pilot", False)
    recipe = {"epochs": epochs, "schedule": "onecycle", "limit": None} | more
    return {
        "chapters": chapters,
        "model": to_json(model),
        "pilot": pilot,
        "epochs": epochs,
        "recipe": recipe,
        "best": {"test_accuracy": accuracy},
    }


def finding(name: str, sentence: str, headline: str = "") -> Finding:
    told = (Headline("?", headline, "sure", ""),) if headline else ()
    return Finding(name, name.title(), "?", "", sentence, {}, headlines=told)


def told(runs: list[Any], *findings: Finding) -> dict[str, list[str]]:
    names = Names(model_from_json(one["model"]) for one in runs)
    return notes_of({one.name: one for one in findings}, runs, names)


def test_the_second_figure_of_a_network_says_how_each_chapter_trains_it() -> None:
    runs = [
        run(["capacity"], NET, 0.50, 7, schedule="constant"),
        run(["capacity"], NET, 0.54, 7, schedule="constant", seed=1),
        run(["capacity"], NET, 0.11, 7, schedule="constant", limit=10),
        run(["parts"], NET, 0.31, 1),
        run(["parts"], NET, 0.99, 1, pilot=True),
        run(["layers"], NET, 0.2, 1, limit=1_000),
        run(["parts"], OTHER, 0.4, 1),
    ]
    short = short_label_of(NET)
    found = told(
        runs,
        finding("capacity", f"On x {label_of(NET)} is best."),
        finding("parts", f"Without them {label_of(NET)} falls, {label_of(OTHER)} does not."),
        finding("layers", "One layer does better.", f"Yes: a layer is better than {short}."),
    )
    lead = f"Each chapter trains {short} in its own way, so its test accuracy differs: "
    assert found == {
        "parts": [f"{lead}52.0 % in Capacity (7 epochs) and 31.0 % here (1 epoch)."],
        "layers": [
            f"{lead}52.0 % in Capacity (7 epochs on all images), 31.0 % in Parts "
            "(1 epoch on all images) and 20.0 % here (1 epoch on 1,000 images)."
        ],
    }
    assert all(len(text.split()) <= 40 for few in found.values() for text in few)


def test_nothing_is_said_where_the_training_is_the_same_or_the_network_is_not_named() -> None:
    runs = [run(["capacity", "best"], NET, 0.5, 7), run(["best"], NET, 0.52, 7, seed=10**9)]
    first = finding("capacity", f"On x {label_of(NET)} is best.")
    assert told(runs, first, finding("best", f"{label_of(NET)} has 52 %.")) == {}
    runs.append(run(["parts"], NET, 0.3, 1))
    averaged = ConvNet(4, 2, pool="avg")  # another one, whose name begins alike
    assert short_label_of(averaged).startswith(short_label_of(NET))
    runs.append(run(["parts"], averaged, 0.4, 1))
    assert told(runs, first, finding("parts", f"{short_label_of(averaged)} has 40 %.")) == {}
