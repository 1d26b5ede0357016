"""How often the words of three chapters are false, and how often two studies say the same.

As bench/calibrate.py, for verdicts on nonlinearity, receptive fields and flatten orders: studies
with a known truth, of values by image of real networks, judged by the chapters' own rules. Networks
differ in how much their seeds scatter, as four studies of `quick` on CIFAR-10 with disjoint seeds
found; the orders scatter alike.

Command: python bench/calibrate_chapters.py [--data cifar10] [--draws 400] [--only no] [--write]
A few minutes on two cores. Prints two tables; with --write it also replaces those in
convscope/report/calibration_chapters.md, which docs/concepts.md quotes. Exit code 1 where a word is
false in more than 5 % of the studies plus two standard errors of the simulation, or where two
studies would contradict each other in more than 0.5 % of cases.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from calibrate import Case, Draw, measured, most, options_of, table
from figures import markdown
from replicate import contradict
from simulated import Parts, real_parts

from convscope.chapters.nonlinearity import ACTIVATION, POOLING, Factorial, role_of
from convscope.chapters.nonlinearity.ablation import AT_MOST, word_of
from convscope.chapters.nonlinearity.plan import MARGIN as DROP
from convscope.chapters.ordering.experiment import POOLED, Experiment, orders_missing, verdict_on
from convscope.chapters.ordering.plan import MARGIN as SAME
from convscope.chapters.receptive_field import MARGIN as BETTER
from convscope.chapters.receptive_field.comparisons import answer_of
from convscope.statistics import crossed, equivalence

IMAGES = 10_000  # test images of CIFAR-10

CONTRADICTION = 0.005  # of pairs of studies, at most


@dataclass(frozen=True)
class Arm:
    """A network as four studies of two seeds each found it, in fractions of test accuracy.

    mean: over all runs.
    seed_sd: the standard deviation between seeds within a study.
    study_sd: between all runs; pilots choose another learning rate here and there.
    """

    mean: float
    seed_sd: float
    study_sd: float = 0.0


# complete, without activation, without max pooling, without both; the linear one at twice the
# width, softmax regression
PARTS = [
    Arm(0.650, 0.0081, 0.0079),
    Arm(0.663, 0.0029, 0.0025),
    Arm(0.658, 0.0056, 0.0088),
    Arm(0.416, 0.0013, 0.0013),
    Arm(0.418, 0.0021, 0.0018),
    Arm(0.402, 0.0021, 0.0025),
]

PRESENT = [{ACTIVATION, POOLING}, {POOLING}, {ACTIVATION}, set[str]()]

# FC at dilation 1, 2, 3, 7; GAP at these; 45 filters with GAP at dilation 1, 3; 24 filters with FC;
# 9 with FC on means
SINGLES = [
    Arm(0.470, 0.0042, 0.0060),
    Arm(0.475, 0.0039, 0.0033),
    Arm(0.470, 0.0064, 0.0062),
    Arm(0.455, 0.0051, 0.0060),
    Arm(0.351, 0.0073, 0.0066),
    Arm(0.367, 0.0081, 0.0085),
    Arm(0.373, 0.0067, 0.0071),
    Arm(0.379, 0.0052, 0.0041),
    Arm(0.365, 0.0039, 0.0068),
    Arm(0.392, 0.0081, 0.0085),
    Arm(0.501, 0.0058, 0.0089),
    Arm(0.497, 0.0047, 0.0051),
]

NET = Arm(0.521, 0.0057, 0.0096)

# each of the orders that are the same for all images, in five studies of three seeds
ORDER = Arm(0.570, 0.0085)

ORDERS = 4  # the natural one and three others

# small cascades with GAP: without pooling, with dilation, with pooling
CASCADES = [Arm(0.348, 0.0181), Arm(0.399, 0.0159), Arm(0.368, 0.0196)]

PAGE = Path(__file__).parent.parent / "convscope" / "report" / "calibration_chapters.md"

HEAD = """\
The same for the chapters on nonlinearity, on receptive fields and on flatten orders. Networks of
the first two differ in how much their seeds scatter; the orders scatter alike, which is proved.
`python bench/calibrate_chapters.py` repeats it."""

AGAIN = """\
How often do two studies of `quick` on CIFAR-10, with seeds and learning rates of their own, say the
same? How often do at least four of five?"""

Decide = Callable[[Draw], str]


def study(
    parts: Parts, arms: Sequence[Arm], seeds: int, draw: Draw, rates: bool = False
) -> list[np.ndarray]:
    """Values of a study's networks. rates: whether learning rates are chosen anew each time.

    What image and seed share scatters the means of seeds, too: it is taken off `seed_sd`.
    """
    shared = float(parts.shared.var()) / IMAGES
    sds = [math.sqrt(max(0.0, arm.seed_sd**2 - shared)) for arm in arms]
    extra = [math.sqrt(max(0.0, arm.study_sd**2 - arm.seed_sd**2)) for arm in arms]
    means = [
        arm.mean + (draw.normal(0, sd) if rates else 0.0)
        for arm, sd in zip(arms, extra, strict=True)
    ]
    return parts.study(means, draw, seeds, IMAGES, sds)


def nonlinearity(
    parts: Parts, arms: Sequence[Arm], seeds: int, fine: bool = False, rates: bool = False
) -> Decide:
    """The verdict of the chapter on nonlinearity; fine: what it says of the parts."""

    def decide(draw: Draw) -> str:
        found = crossed(study(parts, arms, seeds, draw, rates))
        order = tuple(frozenset(kinds) for kinds in PRESENT)
        factorial = Factorial((ACTIVATION, POOLING), order, found)
        if not fine:
            return word_of(factorial, learnt=True)
        word, kinds = role_of(factorial)
        return f"{word}: {', '.join(kinds)}" if word else "not told"

    return decide


def field(
    parts: Parts, singles: Sequence[Arm], net: Arm, seeds: int, rates: bool = False
) -> Decide:
    """The verdict of the chapter on receptive fields."""

    def decide(draw: Draw) -> str:
        found = crossed(study(parts, [*singles, net], seeds, draw, rates))
        return answer_of([found.difference(i, len(singles)) for i in range(len(singles))])[0]

    return decide


def step(parts: Parts, arms: Sequence[Arm], seeds: int) -> Decide:
    """What is said of the first network against the second; the others tell about seeds."""

    def decide(draw: Draw) -> str:
        found = crossed(study(parts, arms, seeds, draw)).difference(0, 1)
        return equivalence(found, BETTER)

    return decide


def orders(parts: Parts, arms: Sequence[Arm], seeds: int) -> Decide:
    """What the chapter on flatten orders says of the experiment; the first is the natural order."""

    def decide(draw: Draw) -> str:
        found = replace(
            crossed(study(parts, arms, seeds, draw)), alike=len(arms) * (seeds - 1) >= POOLED
        )
        others = range(1, len(arms))
        said = {str(i): verdict_on(found.difference(i, 0), len(others)) for i in others}
        return Experiment(said, (), orders_missing(said)).word

    return decide


def case(word: str, truth: str, false: bool, seeds: int, decide: Decide) -> Case:
    return Case(word, truth, false, seeds, IMAGES, lambda draw: decide(draw).startswith(word))


def parts_cases(parts: Parts) -> Iterator[Case]:
    """Of the chapter on nonlinearity."""
    full, no_act, no_pool, linear, *rest = PARTS

    def at(arm: Arm, mean: float) -> Arm:
        return replace(arm, mean=mean)

    none = [full, no_act, no_pool, at(linear, full.mean), *rest]
    little = [full, no_act, no_pool, at(linear, full.mean - DROP), *rest]
    below = [full, *(at(arm, full.mean - DROP) for arm in (no_act, no_pool)), linear, *rest]
    equal = [replace(arm, seed_sd=full.seed_sd) for arm in below]
    half = (full.mean + linear.mean) / 2
    halves = [full, *(at(arm, half) for arm in (no_act, no_pool)), linear, *rest]
    for seeds in (2, 3, 4):
        for word, truth, false, arms, fine in (
            ("nonlinearity buys accuracy", "parts buy nothing", True, none, False),
            (AT_MOST, "parts buy 3 points", True, little, False),
            ("suffice", "each part alone is 3 points worse", True, below, True),
            ("suffice", "the same, seeds scatter equally", True, equal, True),
            ("needed", "taking either out costs 3 points", True, below, True),
            ("most", "each alone buys half", True, halves, True),
            ("nonlinearity buys accuracy", "as measured on CIFAR-10", False, PARTS, False),
            (f"suffice: {ACTIVATION}, {POOLING}", "as measured on CIFAR-10", False, PARTS, True),
            (AT_MOST, "parts buy nothing", False, none, False),
        ):
            yield case(word, truth, false, seeds, nonlinearity(parts, arms, seeds, fine))


def field_cases(parts: Parts) -> Iterator[Case]:
    """Of the chapter on receptive fields."""
    best = SINGLES[10].mean
    wild = [
        replace(arm, seed_sd=0.0181 if i == 10 else arm.seed_sd) for i, arm in enumerate(SINGLES)
    ]
    bound, equal = replace(NET, mean=best - BETTER), replace(NET, mean=best)
    level = [replace(arm, mean=best) for arm in SINGLES]
    pair = [SINGLES[4], replace(SINGLES[6], mean=SINGLES[4].mean), *SINGLES]
    spread = [
        CASCADES[0],
        replace(CASCADES[2], mean=CASCADES[0].mean),
        *SINGLES,
        NET,
        *CASCADES[1:],
    ]
    for seeds in (2, 3):
        for word, truth, false, decide in (
            ("no", "the best layer is 2 points better", True, field(parts, SINGLES, bound, seeds)),
            ("no", "the same, it scatters three times", True, field(parts, wild, bound, seeds)),
            ("yes", "all layers are 2 points better", True, field(parts, level, bound, seeds)),
            ("no", "as measured on CIFAR-10", False, field(parts, SINGLES, NET, seeds)),
            ("no", "the best layer is as good", False, field(parts, SINGLES, equal, seeds)),
            ("different", "two layers of equal accuracy", True, step(parts, pair, seeds)),
            ("different", "two cascades of equal accuracy", True, step(parts, spread, seeds)),
        ):
            yield case(word, truth, false, seeds, decide)


def order_cases(parts: Parts) -> Iterator[Case]:
    """Of the chapter on flatten orders."""
    same = [ORDER] * ORDERS
    worse = [*same[:-1], replace(ORDER, mean=ORDER.mean - SAME)]
    for seeds in (2, 3, 4):
        for word, truth, false, arms in (
            ("no difference", "one order is 3 points worse", True, worse),
            ("a difference was found", "all orders are one", True, same),
            ("no difference", "all orders are one", False, same),
        ):
            yield case(word, truth, false, seeds, orders(parts, arms, seeds))


def again(decide: Decide, draws: int, number: int) -> tuple[Counter[str], float, float]:
    """(how often each word, how often two studies say the same, how often they contradict)."""
    draw = np.random.default_rng([number, draws])
    words = Counter(decide(draw) for _ in range(draws))
    shares = {word: count / draws for word, count in words.items()}
    pairs = itertools.combinations(shares, 2)
    clash = sum(2 * shares[a] * shares[b] for a, b in pairs if contradict(a, b))
    return words, sum(share**2 for share in shares.values()), clash


def four_of_five(shares: Sequence[float]) -> float:
    """How often at least four of five studies say the same word, from each word's share."""
    return sum(p**5 + 5 * p**4 * (1 - p) for p in shares)


def main() -> int:
    options = options_of(__doc__)
    parts = real_parts(options.data, Path(__file__).parent / "results" / "calibration")["accuracy"]
    rows: dict[tuple[str, str, bool], list[tuple[Case, float]]] = {}
    bad = 0
    cases = [*parts_cases(parts), *field_cases(parts), *order_cases(parts)]
    for number, one in enumerate(one for one in cases if options.only in one.word):
        rate = measured(one, options.draws, number)
        rows.setdefault((one.word, one.truth, one.false), []).append((one, rate))
        bad += one.false and rate > most(options.draws)
        print(f"{one.word} | {one.truth} | {one.seeds} seeds | {rate:.3f}", file=sys.stderr)
    text = table(rows, options.draws)
    body = []
    for number, (name, decide) in enumerate(
        (name, decide)
        for seeds in (2, 3, 4)
        for name, decide in (
            (f"nonlinearity, {seeds} seeds", nonlinearity(parts, PARTS, seeds, rates=True)),
            (f"its parts, {seeds} seeds", nonlinearity(parts, PARTS, seeds, True, True)),
            (f"receptive field, {seeds} seeds", field(parts, SINGLES, NET, seeds, True)),
            (f"flatten order, {seeds} seeds", orders(parts, [ORDER] * ORDERS, seeds)),
        )
        if not options.only
    ):
        words, same, clash = again(decide, options.draws, number)
        bad += clash > CONTRADICTION
        shares = {word: count / options.draws for word, count in words.most_common()}
        told = "; ".join(f"{word}: {100 * share:.1f}" for word, share in shares.items())
        often = four_of_five([*shares.values()])
        body.append([name, told, *(f"{100 * x:.1f}" for x in (same, often, clash))])
    if body:
        head = ["words of", "% of studies", "% two say the same", "% four of five", "% contradict"]
        text += f"\n\n{AGAIN}\n\n{markdown(head, body)}"
    print(text)
    if options.write and body:
        PAGE.write_text(f"{HEAD}\n\n{text}\n", encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
