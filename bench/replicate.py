"""Do a study's words come out again? The same preset on disjoint sets of seeds, side by side.

Everything is decided anew each time: learning rates, the search, verdicts. The images are the same.

Command: python bench/replicate.py [--data cifar10] [--preset quick] [--times 5] [--out FOLDER]
Each study takes as long as `convscope study`; a broken-off one goes on. With `--at-once N` so many
share the machine, which a GPU has room for. Prints a table of words and how often they agree,
writes bench/results/replicate.json, and ends with 1 where a chapter's word is the same in fewer
than four of five, or where two words contradict each other. Of the chapter `best`, which names a
network, those winners are the same that cannot be told apart on fresh seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import re
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from figures import machine_line, markdown

from convscope.studies import Lines, study

RESULTS = Path(__file__).parent / "results"

APART = 1_000  # between the first seeds of two studies: their fresh seeds are apart, too

# words that no two studies of the same images may say
CONTRADICTIONS = (
    ("plateau", "still improving"),
    ("nonlinearity buys accuracy", "nonlinearity costs"),
    ("order does not matter", "a difference was found"),
)

# a width that is enough, and one that is too small
WIDTHS = r"plateau from width (\d+)", r"more than width (\d+)"

# of what a part does, a statement beside the verdict
ROLES = ({"suffice", "needed"},)


def word(verdict: str) -> str:
    """A verdict without its figures: "plateau from width 8" is "plateau"."""
    for start in ("plateau", "still improving", "more than", "non-monotone", "cannot tell"):
        if verdict.startswith(start):
            return start
    return verdict.split(" (")[0]


def contradict(a: str, b: str) -> bool:
    """Whether two words exclude each other."""
    return {a, b} == {"yes", "no"} or any(
        (one in a and other in b) or (one in b and other in a) for one, other in CONTRADICTIONS
    )


def role(chapter: dict[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """What a study says of the network's parts beside its verdict: ("suffice", their kinds)."""
    found = chapter["numbers"].get("role")
    return (found["word"], tuple(found["kinds"])) if found else None


def roles_clash(a: tuple[str, tuple[str, ...]], b: tuple[str, tuple[str, ...]]) -> bool:
    """Whether one study says that a part is needed and another that the other part suffices."""
    if {a[0], b[0]} not in ROLES:
        return False
    needed, enough = (a[1], b[1]) if a[0] == "needed" else (b[1], a[1])
    return any(part != other for part in enough for other in needed)


def sizes_clash(a: str, b: str) -> bool:
    """Whether one verdict says that a width is enough and the other that it is too small."""
    for one, other in ((a, b), (b, a)):
        enough, more = re.fullmatch(WIDTHS[0], one), re.fullmatch(WIDTHS[1], other)
        if enough and more and int(more[1]) >= int(enough[1]):
            return True
    return False


def alike(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether the winners of two searches cannot be told apart, by accuracy on fresh seeds.

    The intervals of both are taken for independent, though the images are the same: their
    difference is known at least so well.
    """
    levels = [(one["test_accuracy"], one["test_accuracy_interval"]) for one in (a, b)]
    halves = [high - level for level, (_, high) in levels]
    return abs(levels[0][0] - levels[1][0]) <= math.hypot(*halves)


def judged(trees: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each chapter its words, how often the commonest comes out, and what contradicts.

    The chapter `best` names a network. Its times are those whose winner cannot be told from the
    winners of most others. `of`: the studies that asked a chapter's question.
    """
    out = []
    for chapter in dict.fromkeys(name for tree in trees for name in tree["chapters"]):
        found = [tree["chapters"][chapter] for tree in trees if chapter in tree["chapters"]]
        words = [word(one["verdict"]) for one in found]
        common, times = Counter(words).most_common(1)[0]
        clash = [pair for pair in itertools.combinations(set(words), 2) if contradict(*pair)]
        roles = [one for one in map(role, found) if one is not None]
        verdicts = {one["verdict"] for one in found}
        clash += [pair for pair in itertools.combinations(verdicts, 2) if sizes_clash(*pair)]
        said = itertools.combinations(set(roles), 2)
        clash += [(f"{a}", f"{b}") for a, b in said if roles_clash(a, b)]
        winners = [one["numbers"] for one in found if "test_accuracy" in one["numbers"]]
        if chapter == "best" and len(winners) == len(found):
            times = max(sum(alike(a, b) for b in winners) for a in winners)
        row = {"chapter": chapter, "words": words, "common": common, "times": times}
        row["of"] = len(found)
        out.append({**row, "contradictions": clash, "roles": [list(one) for one in roles]})
    return out


def studied(options: argparse.Namespace, time: int) -> dict[str, Any]:
    """The results.json of one of the studies."""
    found = study(
        options.data,
        options.chapters.split(",") if options.chapters else None,
        options.preset,
        first_seed=APART * time,
        out=options.out / f"{options.preset}-{time}",
        budget=options.budget,
        device=options.device,
        watcher=Lines(),
    )
    return json.loads((found.path / "results.json").read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--chapters", default=None)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--budget", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "replicate")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.at_once, context) as pool:
        trees = list(pool.map(studied, itertools.repeat(options), range(options.times)))
    rows = judged(trees)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "replicate.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(machine_line())
    body = [
        [
            row["chapter"],
            "; ".join(row["words"]),
            f"{row['times']} of {row['of']}",
            ", ".join(" against ".join(pair) for pair in row["contradictions"]) or "none",
        ]
        for row in rows
    ]
    print(markdown(["chapter", "words", "the same", "contradictions"], body))
    bad = [row for row in rows if row["contradictions"] or row["times"] < 4 * row["of"] / 5]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
