"""How often each word of a verdict is false, and how often it is found where it is true.

Studies are simulated with a known truth, from values by image of real networks (simulated.py), and
judged by the rules of convscope/statistics as they are. A word may be false in at most 5 % of the
studies, plus two standard errors of the simulation.

Command: python bench/calibrate.py [--data cifar10] [--draws 400] [--only plateau] [--write]
A few minutes on two cores. Prints a table; with --write it also replaces the one in
convscope/report/calibration.md, which docs/concepts.md quotes. Exit code 1 where a word is false
too often.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from calibrate_networks import network_words, rising
from figures import markdown
from simulated import Case, Draw, Parts, real_parts

from convscope.statistics.crossed_factors import crossed
from convscope.statistics.run_comparisons import MARGINS, word_on
from convscope.statistics.verdicts import MARGIN, decided, too_small_in

ERROR = 0.05

PAGE = Path(__file__).parent.parent / "convscope" / "report" / "calibration.md"


def sweep(
    parts: Parts,
    word: str,
    gains: list[float],
    seeds: int,
    images: int,
    seed_sd: list[float] | float | None = None,
) -> Callable[[Draw], bool]:
    """Whether a sweep whose sizes gain so much comes to the word."""
    means = (2.0 - np.cumsum([0.0, *gains])).tolist()

    def happens(draw: Draw) -> bool:
        values = parts.study(means, draw, seeds, images, seed_sd)
        return decided(crossed(values), MARGIN)[0] == word

    return happens


def sweeps(parts: Parts) -> Iterator[Case]:
    """Verdicts on sweeps of four sizes, where seeds scatter as measured and where they do less."""
    flat, steps = [5 * MARGIN, 0.0, 0.0], [MARGIN] * 3
    sd = parts.seed_sd
    truths: list[tuple[str, str, bool, list[float], list[float] | float]] = [
        ("plateau", "each doubling gains the margin", True, steps, sd),
        ("plateau", "the same, seeds scatter a quarter", True, steps, sd / 4),
        (
            "plateau",
            "the same, one size scatters 5 times",
            True,
            steps,
            [sd, sd / 5, sd / 5, sd / 5],
        ),
        ("still improving", "flat from the second size on", True, flat, sd),
        ("still improving", "each doubling gains the margin", True, steps, sd),
        ("non-monotone", "flat from the second size on", True, flat, sd),
        ("plateau", "flat from the second size on", False, flat, sd),
        ("plateau", "the same, seeds scatter a quarter", False, flat, sd / 4),
        ("still improving", "each doubling gains 4 margins", False, [4 * MARGIN] * 3, sd),
        ("non-monotone", "the last size is 4 margins worse", False, [*flat[:2], -4 * MARGIN], sd),
    ]
    for word, truth, false, gains, scatter in truths:
        for seeds in (2, 3, 5):
            for images in (1_000, 5_000):
                yield Case(
                    word,
                    truth,
                    false,
                    seeds,
                    images,
                    sweep(parts, word, gains, seeds, images, scatter),
                )


def growing(parts: Parts, word: str, gains: list[float], looks: int) -> Callable[[Draw], bool]:
    """Whether a sweep comes to the word while seeds are added: at 3, else at 6, else at 9.

    looks: over how many the rule splits its error.
    """
    means = (2.0 - np.cumsum([0.0, *gains])).tolist()

    def happens(draw: Draw) -> bool:
        values = parts.study(means, draw, 9, 5_000)
        found = (crossed([v[:seeds] for v in values]) for seeds in (3, 6, 9))
        return any(decided(one, MARGIN, looks)[0] == word for one in found)

    return happens


def growing_sweeps(parts: Parts) -> Iterator[Case]:
    """Verdicts on sweeps whose seeds are added where a time budget leaves room."""
    flat, steps = [5 * MARGIN, 0.0, 0.0], [MARGIN] * 3
    three, no = "seeds added twice, three looks", "seeds added twice, uncorrected"
    for word, truth, gains in (
        ("plateau", "each doubling gains the margin", steps),
        ("still improving", "each doubling gains the margin", steps),
        ("non-monotone", "flat from the second size on", flat),
    ):
        yield Case(word, f"{truth}; {three}", True, 9, 5_000, growing(parts, word, gains, 3))
    once = growing(parts, "still improving", steps, 1)
    # nothing here is promised, and the table shows what the looks are for
    yield Case("still improving", f"each doubling gains the margin; {no}", False, 9, 5_000, once)
    told = growing(parts, "still improving", [2 * MARGIN] * 3, 3)
    yield Case("still improving", f"each doubling gains 2 margins; {three}", False, 9, 5_000, told)


def shortfall(
    parts: Parts, gains: list[float], place: int, seeds: int, images: int, seed_sd: float
) -> Callable[[Draw], bool]:
    """Whether a sweep whose sizes gain so much shows the size at `place` to be too small."""
    means = (2.0 - np.cumsum([0.0, *gains])).tolist()

    def happens(draw: Draw) -> bool:
        found = too_small_in(crossed(parts.study(means, draw, seeds, images, seed_sd)), MARGIN)
        return found is not None and found[0] >= place

    return happens


def too_small(parts: Parts) -> Iterator[Case]:
    """Which sizes of four are too small: the last is better by more than the margin."""
    sd, half = parts.seed_sd, MARGIN / 2
    truths = [
        ("the last is better than the first by the margin", True, [half, half, 0.0], 0),
        ("than the second by the margin, far better than the first", True, [0.5, half, half], 1),
        ("the same, seeds scatter a quarter", True, [0.5, half, half], 1),
        ("the last is better than the second by 4 margins", False, [0.5, *[2 * MARGIN] * 2], 1),
        ("the last is better than the second by 7 margins", False, [0.5, 0.08, 0.06], 1),
    ]
    for truth, false, gains, place in truths:
        scatter = sd / 4 if "quarter" in truth else sd
        for seeds in (2, 3, 5):
            for images in (1_000, 5_000):
                happens = shortfall(parts, gains, place, seeds, images, scatter)
                yield Case("more than", truth, false, seeds, images, happens)


def pair(
    parts: Parts,
    words: tuple[str, ...],
    gap: float,
    seeds: int,
    images: int,
    seed_sd: list[float] | None = None,
) -> Callable[[Draw], bool]:
    """Whether two configurations of the same width, whose truth differs so much, get a word."""
    alike = Parts(parts.image[[1, 1]], parts.shared[[1, 1]], parts.seed_sd)

    def happens(draw: Draw) -> bool:
        values = alike.study([0.7 + gap, 0.7], draw, seeds, images, seed_sd)
        return word_on(crossed(values), MARGINS["accuracy"], "accuracy") in words

    return happens


def two_looks(parts: Parts, looks: int) -> Callable[[Draw], bool]:
    """Whether equal configurations get a word at 3 seeds, or else at 6.

    looks: over how many the rule splits its error.
    """
    alike = Parts(parts.image[[1, 1]], parts.shared[[1, 1]], parts.seed_sd)

    def happens(draw: Draw) -> bool:
        values = alike.study([0.7, 0.7], draw, 6, 10_000)
        words = (
            word_on(crossed([v[:n] for v in values]), MARGINS["accuracy"], "accuracy", looks)
            for n in (3, 6)
        )
        return any(word in ("better", "worse") for word in words)

    return happens


def comparisons(parts: Parts) -> Iterator[Case]:
    """Two configurations, by accuracy on 10,000 images."""
    told, margin, sd = ("better", "worse"), MARGINS["accuracy"], parts.seed_sd
    truths: list[tuple[tuple[str, ...], str, bool, float, list[float]]] = [
        (told, "no difference (A/A)", True, 0.0, [sd, sd]),
        (told, "no difference, seeds scatter 3 : 1", True, 0.0, [1.5 * sd, sd / 2]),
        (("equivalent",), "the margin apart", True, margin, [sd, sd]),
        (("equivalent",), "the margin apart, seeds scatter a quarter", True, margin, [sd / 4] * 2),
        (("better",), "2 points better", False, 0.02, [sd, sd]),
        (("equivalent",), "no difference, seeds scatter a quarter", False, 0.0, [sd / 4] * 2),
    ]
    for words, truth, false, gap, scatter in truths:
        for seeds in (2, 3, 5, 10):
            yield Case(
                " or ".join(words),
                truth,
                false,
                seeds,
                10_000,
                pair(parts, words, gap, seeds, 10_000, scatter),
            )
    for looks, name in ((2, "two looks, as `--looks 2` takes them"), (1, "two looks, uncorrected")):
        yield Case(
            "better or worse",
            f"no difference; {name}",
            looks == 2,
            6,
            10_000,
            two_looks(parts, looks),
        )


def measured(case: Case, draws: int, number: int) -> float:
    draw = np.random.default_rng([number, case.seeds, case.images])
    return sum(case.happens(draw) for _ in range(draws)) / draws


def most(draws: int) -> float:
    """The highest rate that passes for 5 %."""
    return ERROR + 2 * math.sqrt(ERROR * (1 - ERROR) / draws)


def options_of(description: str | None) -> argparse.Namespace:
    """The options of both commands that calibrate."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--only", default="", help="words that contain this text")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def main() -> int:
    options = options_of(__doc__)
    started = time.perf_counter()
    parts = real_parts(options.data, Path(__file__).parent / "results" / "calibration")
    loss = parts["loss"]
    print(
        f"real networks: seeds scatter by {loss.seed_sd:.4f} nats and "
        f"{100 * parts['accuracy'].seed_sd:.2f} points",
        file=sys.stderr,
    )
    cases = [*sweeps(loss), *comparisons(parts["accuracy"]), *rising(loss), *network_words(loss)]
    cases += [*too_small(loss), *growing_sweeps(loss)]
    cases = [case for case in cases if options.only in case.word]
    rows: dict[tuple[str, str, bool], list[tuple[Case, float]]] = {}
    for number, case in enumerate(cases):
        rate = measured(case, options.draws, number)
        rows.setdefault((case.word, case.truth, case.false), []).append((case, rate))
        print(f"{case.word} | {case.truth} | {case.seeds} seeds | {rate:.3f}", file=sys.stderr)
    text = table(rows, options.draws)
    print(text)
    if options.write:
        head = (
            f"Each row is from {options.draws} simulated studies whose truth is known, on images "
            f"and networks of {options.data}.\nWhere a verdict is false, its rate is an error, 5 % "
            "at most; where it is true, its rate is the power.\nThe range is over the numbers of "
            "images; for words on networks, over the number of epochs and whether\n"
            "their deviations last. `make calibrate` repeats it.\n\n"
        )
        PAGE.write_text(head + text + "\n", encoding="utf-8")
    bad = [
        (case, rate)
        for (_, _, false), found in rows.items()
        for case, rate in found
        if false and rate > most(options.draws)
    ]
    for case, rate in bad:
        told = f"{case.word!r} where {case.truth}, {case.seeds} seeds, {case.images} images"
        print(f"false too often: {told}: {rate:.3f}", file=sys.stderr)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 1 if bad else 0


def table(rows: dict[tuple[str, str, bool], list[tuple[Case, float]]], draws: int) -> str:
    """A row for each word and truth: the rates over seeds and images, lowest to highest."""
    body = []
    for (word, truth, false), found in rows.items():
        by_seeds: dict[int, list[float]] = {}
        for case, rate in found:
            by_seeds.setdefault(case.seeds, []).append(rate)
        cells = "; ".join(
            f"{seeds}: {'–'.join(sorted({f'{100 * r:.1f}' for r in (min(v), max(v))}, key=float))}"
            for seeds, v in by_seeds.items()
        )
        body.append([word, truth, "false" if false else "true", cells])
    limit = f"false ones at most {100 * most(draws):.1f}"
    return markdown(["verdict", "truth", "it is", f"% of studies, by seeds ({limit})"], body)


if __name__ == "__main__":
    sys.exit(main())
