"""How a study is cited, and how its method is told in a paper: made from its results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from convscope.errors import one_line
from convscope.report.latex import latex
from convscope.words import count, listed, optimiser

YEAR = 2026  # of this version, as in CITATION.cff

SOFTWARE = """@software{{convscope,
  title = {{convscope: how big a convolutional network a set of images needs}},
  author = {{{{The convscope authors}}}},
  version = {{{version}}},
  year = {{{year}}},
  license = {{MIT}}
}}
"""

STUDY = """@misc{{{key},
  title = {{A convscope study of {data}}},
  note = {{{note}}}
}}
"""


def bibtex(tree: Mapping[str, Any]) -> str:
    """Entries for the program and for the study, which its images and its seeds tell apart."""
    about = tree["study"]
    name = re.sub(r"[^A-Za-z0-9]+", "-", about["data"]).strip("-")[:40] or "images"
    seeds = listed(about["seeds"])
    note = (
        f"{about['preset']} preset, seeds {seeds}, images with SHA-256 {about['data_hash'][:16]}, "
        f"convscope {tree['convscope']}"
    )
    key = f"convscope-{name.lower()}-{about['data_hash'][:8]}"
    study = STUDY.format(key=key, data=latex(about["data"]), note=latex(note))
    return SOFTWARE.format(version=latex(tree["convscope"]), year=YEAR) + "\n" + study


def method(tree: Mapping[str, Any]) -> str:
    """The method in one paragraph of plain text, true of these runs."""
    about, machine = tree["study"], tree["study"]["machine"]
    images = about["images"]
    channels, height, width = about["in_shape"]
    runs = [run for run in tree["runs"] if run["status"] == "finished"]
    full = [run for run in runs if not run["pilot"]]
    networks = {str(sorted(run["model"].items(), key=str)) for run in full}
    said = [
        f"We studied {one_line(about['data'])}: {images['train']:,} training, {images['val']:,} "
        f"validation and {images['test']:,} test images of {height}×{width} pixels, "
        f"{count(channels, 'channel')}, {count(len(about['classes']), 'class', 'classes')}.",
        f"The validation images are {100 * about['val']:g} % of those given for training, drawn "
        "by class; where the images come with a validation split, they are that.",
        f"With convscope {tree['convscope']} ({one_line(about['preset'])} preset) we trained "
        f"{count(len(networks), 'network')} in {count(len(full), 'run')} to the end, and "
        f"{count(len(runs) - len(full), 'pilot and trial', 'pilots and trials')} that were judged "
        "by validation alone.",
        *trained(full),
        f"The {'seed' if len(about['seeds']) == 1 else 'seeds'} of the study "
        f"{'is' if len(about['seeds']) == 1 else 'are'} {listed(about['seeds'])}.",
        "Epochs, learning rates and networks were chosen by validation; test figures are those of "
        "the epoch of lowest validation loss.",
        "Differences are paired by image, and seeds and images count as crossed random factors; a "
        "statement that is not supported at the 5 % level is given as “cannot tell”.",
        f"All was computed on {one_line(machine['processor'])} with {machine['cores']} cores"
        f"{', ' + one_line(machine['gpu']) if machine['gpu'] else ''}, "
        f"torch {machine['torch']}, Python {machine['python']}, in "
        f"{about['seconds'] / 60:.1f} minutes.",
    ]
    return " ".join(said)


def trained(runs: list[dict[str, Any]]) -> list[str]:
    """How the runs to the end were trained, in one sentence; nothing where there are none."""
    if not runs:
        return []
    recipes = [run["recipe"] for run in runs]
    optimisers = listed(distinct(optimiser(recipe["optimizer"]) for recipe in recipes))
    precisions = listed(distinct(recipe["precision"] for recipe in recipes))
    schedules = listed(distinct(recipe["schedule"] for recipe in recipes))
    return [
        f"They were trained with {optimisers} ({schedules} learning rate), batches of "
        f"{between(recipes, 'batch')} images, {between(recipes, 'epochs')} epochs and learning "
        f"rates of {between(recipes, 'lr', '{:g}'.format)}, in {precisions}."
    ]


def distinct(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


def between(
    recipes: list[dict[str, Any]], key: str, show: Callable[[Any], str] = "{:,}".format
) -> str:
    """As "128", or "2 to 20" where recipes differ."""
    low, high = (choose(recipe[key] for recipe in recipes) for choose in (min, max))
    return show(low) if low == high else f"{show(low)} to {show(high)}"
