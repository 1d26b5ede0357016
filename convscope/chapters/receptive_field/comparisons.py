"""One wide layer against a cascade: which networks are compared, and what the tests say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from convscope.chapters.receptive_field.arms import (
    NEAR,
    Arms,
    Factor,
    Step,
    apart,
    head_of,
    is_single,
    sees_means,
)
from convscope.chapters.receptive_field.plan import MARGIN
from convscope.data import Dataset
from convscope.recipe import Model
from convscope.statistics import (
    Configuration,
    Crossed,
    Difference,
    accuracy_difference,
    crossed,
    equivalence,
)
from convscope.statistics.replication import replication

# what a test says of a against b
Word = Literal["better", "worse", "equivalent", "cannot tell"]

# with pooling a field is even, with dilation odd: they come as near as a pixel
NEAR_FIELD = 1

# heads are compared at matched parameters where there are such, and never beyond this share
FAR = 0.25

# what a factor changes by itself; whatever else differs is confounded with it
OWN: dict[Factor, str] = {
    "field": "field",
    "filters": "filters",
    "depth": "layers",
    "pooling": "pooling",
    "head": "head",
}


@dataclass(frozen=True)
class Comparison:
    """A step of the argument: what changes from b to a, and what it does to test accuracy.

    confounded: what else differs between them, by name its values of b and of a.
    """

    factor: Factor
    a: Configuration
    b: Configuration
    difference: Difference
    word: Word
    confounded: Mapping[str, tuple[Any, Any]]

    @property
    def doubt(self) -> str:
        """Why a test has no say whatever its interval: "learning", "seeds" or nothing."""
        if not (learned(self.a) and learned(self.b)):
            return "learning"
        return "" if self.difference.tells else "seeds"

    @property
    def head(self) -> str:
        """What both have in common; of a comparison of heads that of the first."""
        return head_of(self.a.convnet)

    def row(self) -> dict[str, Any]:
        d = self.difference
        return {
            "factor": self.factor,
            "head": self.head,
            "from": self.b.label,
            "to": self.a.label,
            "parameters_from": self.b.parameters,
            "parameters_to": self.a.parameters,
            "difference": d.mean,
            "low": d.low,
            "high": d.high,
            "word": self.word,
            "replication": d.replication,
            "confounded": {name: list(values) for name, values in self.confounded.items()},
        }


def comparisons_of(
    arms: Arms, found: Mapping[Model, Configuration], fields: Mapping[Model, int | None]
) -> list[Comparison]:
    """The planned steps whose two networks were trained.

    fields: the side of each network's theoretical field; None: the whole image.
    """
    out = []
    for step in arms.steps:
        if step.a in found and step.b in found:
            a, b = found[step.a], found[step.b]
            difference = accuracy_difference(a, b, kin(a, b, found.values()), MARGIN)
            word = word_of(difference, a, b)
            sides = fields.get(step.a), fields.get(step.b)
            out.append(
                Comparison(step.factor, a, b, difference, word, confounded_with(step, a, b, *sides))
            )
    return out


def kin(a: Configuration, b: Configuration, arms: Iterable[Configuration]) -> list[Configuration]:
    """The networks whose seeds tell how much those of a and b scatter.

    Of two single layers these are the single layers: with global average pooling the small
    cascades scatter about three times as much as the others, and would decide for all whether the
    variances are taken for equal.
    """
    alike = is_single(a.convnet) and is_single(b.convnet)
    return [arm for arm in arms if not alike or is_single(arm.convnet)]


def word_of(difference: Difference, a: Configuration, b: Configuration) -> Word:
    """What the test says of a against b: equivalence within MARGIN, else the 95 % interval.

    "cannot tell" too where a seed's influence is unknown, or one of them did not learn.
    """
    if not (learned(a) and learned(b)):
        return "cannot tell"
    told = equivalence(difference, MARGIN)
    if told == "different":
        return "better" if difference.mean > 0 else "worse"
    return "equivalent" if told == "equivalent" else "cannot tell"


def chance_of(data: Dataset) -> float:
    """The accuracy of who always answers the most frequent class of the validation images."""
    counts = data.val.labels.bincount()
    return float(counts.max()) / max(1, len(data.val))


def learned(arm: Configuration) -> bool:
    """Whether its validation accuracy is above chance with confidence.

    Of validation, because it selects: networks that did not learn have no say.
    """
    return arm.val_accuracy.low > chance_of(arm.data)


def aspects_of(arm: Configuration, field: int | None) -> dict[str, Any]:
    """In what networks may differ."""
    model = arm.convnet
    pooling = "none" if sees_means(model) else model.pool  # these means are part of the head
    return {
        "filters": arm.filters,
        "parameters": arm.parameters,
        "FLOPs": arm.flops,
        "field": field,
        "layers": model.depth * model.block_depth,
        "pooling": pooling,
        "head": head_of(model),
    }


def confounded_with(
    step: Step, a: Configuration, b: Configuration, field_a: int | None, field_b: int | None
) -> dict[str, tuple[Any, Any]]:
    """Where the two networks differ beside the step's factor: the values of b and of a.

    Counts that differ by at most NEAR, and fields that differ by a pixel, count as equal.
    """
    before, after = aspects_of(b, field_b), aspects_of(a, field_a)
    out = {}
    for name in before:
        x, y = before[name], after[name]
        if name == OWN[step.factor] or x == y:
            continue
        if name in ("parameters", "FLOPs") and apart(x, y) <= NEAR:
            continue
        if name == "field" and x is not None and y is not None and abs(x - y) <= NEAR_FIELD:
            continue
        out[name] = (x, y)
    return out


def chosen(shallow: Sequence[Configuration]) -> Configuration | None:
    """The single layer of lowest validation loss."""
    return min(shallow, key=lambda a: a.val_loss.mean, default=None)


Answer = Literal["yes", "no", "cannot tell"]


@dataclass(frozen=True)
class Question:
    """Did a single layer do better than the network of question 1?

    word: the answer; worse: whether every single layer that learned is worse.
    net: the network of question 1; shallow: the single layer that the answer names.
    difference: of these two, the single layer's test accuracy minus the other's.
    replication: how often a study of the same size would give the same answer; None: not known.
    tested: how many single layers are compared, of which `shallow` is chosen by validation.
    """

    word: Answer
    worse: bool
    net: Configuration | None
    shallow: Configuration | None
    difference: Difference | None
    replication: float | None = None
    tested: int = 0

    def numbers(self) -> dict[str, Any]:
        """For results.json."""
        return {
            **({} if self.difference is None else self.difference.numbers()),
            "answer": self.word,
            "every_single_layer_worse": self.worse,
            "network": None if self.net is None else self.net.label,
            "single_layer": None if self.shallow is None else self.shallow.label,
            "margin": MARGIN,
            "replication": self.replication,
        }


def answer_of(differences: Sequence[Difference]) -> tuple[Answer, bool]:
    """The answer, and whether all are worse, from single layers' accuracies minus the network's.

    Both answers test the same bound, so that two studies hardly ever contradict each other: where
    the truth lies at the bound, each comes out in 5 % at most. "no": none is better by more than
    MARGIN. As all these tests have to succeed, the error of the answer is that of one of them, 5 %
    (Berger 1982). "yes": one is better by more than MARGIN, at 5 % over the number of single layers
    (Bonferroni).
    """
    if not differences or not all(d.tells for d in differences):
        return "cannot tell", False
    if any(beats(d, len(differences)) for d in differences):
        return "yes", False
    none = all(d.below(MARGIN) for d in differences)
    return ("no" if none else "cannot tell"), none and all(d.high < 0 for d in differences)


def beats(difference: Difference, tests: int) -> bool:
    """Whether a single layer does better, as one of so many, by more than the margin."""
    return difference.above(MARGIN, 0.05 / tests)


def question_of(net: Configuration | None, arms: Sequence[Configuration]) -> Question:
    """Whether one of the single layers among these networks does better than the network.

    The single layers that did not learn have no say; where there are no others, and where the
    network did not, nobody can tell.
    """
    singles = [a for a in arms if is_single(a.convnet) and a is not net]
    voting = [a for a in singles if learned(a)]
    shallow = chosen(voting or singles)
    if net is None or shallow is None:
        return Question("cannot tell", False, net, shallow, None)
    if not learned(net) or not voting:
        quoted = accuracy_difference(shallow, net, arms)
        return Question("cannot tell", False, net, shallow, quoted)
    tested, again = tested_against(net, voting)
    word, worse = answer_of(list(tested.values()))
    if word == "yes":
        named = chosen([a for a, d in tested.items() if beats(d, len(tested))])
        assert named is not None
        shallow = named
    return Question(word, worse, net, shallow, tested[shallow], again, len(tested))


def tested_against(
    net: Configuration, voting: Sequence[Configuration]
) -> tuple[dict[Configuration, Difference], float | None]:
    """Test accuracies minus the network's, and how often their answer would come out again.

    voting: single layers. Their seeds and the network's tell about the variance between seeds, not
        those of small cascades, which scatter more.

    The second is None where it is not known which images a network gets right.
    """
    compared = [*voting, net]
    if not all(len(values) for one in compared for values in one.right):
        return {a: accuracy_difference(a, net, compared) for a in voting}, None
    last = len(voting)

    def differences(found: Crossed) -> list[Difference]:
        return [found.difference(i, last) for i in range(last)]

    def decide(found: Crossed) -> Answer:
        return answer_of(differences(found))[0]

    values = [np.stack(one.right) for one in compared]
    found = crossed(values)
    again = replication(values, decide, found)
    return dict(zip(voting, differences(found), strict=True)), again


@dataclass(frozen=True)
class Heads:
    """The choice between FC and GAP behind one convolution, at matched parameters.

    by: what decides, "accuracy" or "cost"; "nothing" where one of the networks did not learn.
    chosen: the network with the chosen head, of no choice that of fewer FLOPs.
    """

    comparison: Comparison
    by: Literal["accuracy", "cost", "nothing"]
    chosen: Configuration

    @property
    def other(self) -> Configuration:
        c = self.comparison
        return c.b if self.chosen is c.a else c.a


def heads_of(comparisons: Sequence[Comparison]) -> Heads | None:
    """The choice: the better one where the test tells, else the one of fewer FLOPs.

    Of the comparisons of heads that of the nearest parameters counts. None where no networks with
    both heads and parameters of one size (within FAR) were trained.
    """

    def off(c: Comparison) -> float:
        return apart(c.a.parameters, c.b.parameters)

    c = min((c for c in comparisons if c.factor == "head"), key=off, default=None)
    if c is None or off(c) > FAR:
        return None
    if c.word in ("better", "worse"):
        return Heads(c, "accuracy", c.a if c.word == "better" else c.b)
    by = "nothing" if c.doubt == "learning" else "cost"
    return Heads(c, by, min(c.a, c.b, key=lambda arm: arm.flops))


def path_of(arms: Arms, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons along the way from the course's single layer to the cascade."""
    steps = {(c.a.model, c.b.model): c for c in comparisons}
    return [steps[step.a, step.b] for step in arms.path if (step.a, step.b) in steps]
