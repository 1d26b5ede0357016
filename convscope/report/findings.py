"""What a chapter finds: a verdict with its numbers, charts, tables and pictures. Plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from convscope.recipe import ConvNet, Model, Recipe
from convscope.training import Run

if TYPE_CHECKING:
    from convscope.statistics import Configuration


@dataclass(frozen=True)
class CapacityResult:
    """What the chapter on capacity gives to others, of the networks on all images.

    smallest: the smallest network that is shown to be within the margin of the best one's
        validation loss; the best one where none is.
    runs: the finished runs.
    """

    smallest: ConvNet
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class BestResult:
    """What the search gives to others.

    winner: the recipe of lowest validation error, and how it is trained.
    run: that which stands for the winner, for pictures and probes.
    smallest: the smallest candidate that is close to the winner on the validation images.
    affordable: the best candidate that is cheap enough to be trained dozens of times, often the
        winner itself; None where none is.
    reason: why it is not the winner, a sentence; empty where it is.
    """

    winner: Recipe
    run: Run
    smallest: Recipe
    affordable: Recipe | None
    reason: str = ""


# how sure an answer is: a theorem, a measurement without chance, a test that would come out again,
# one that might not, a forecast, what is no evidence at all, and what the study did not ask
Sure = Literal[
    "proved", "measured", "sure", "fairly sure", "forecast", "one seed", "cannot tell", "not asked"
]

OFTEN = 0.90  # a test's word that would come out again less often is "fairly sure"


@dataclass(frozen=True)
class Headline:
    """A question's answer in one sentence of at most 20 words, with its number.

    sure: how sure it is, the word of the badge; why: what the badge rests on, a sentence.
    wrong: what it would cost to be wrong, a sentence; empty where nothing is claimed.
    """

    question: str
    text: str
    sure: Sure
    why: str
    wrong: str = ""

    @property
    def told(self) -> bool:
        """Whether anything is claimed."""
        return self.sure not in ("one seed", "cannot tell", "not asked")


def sure_of(replication: float | None) -> Sure:
    """The badge of a tested word, from the share of studies that would come to it again."""
    return "sure" if replication is None or replication >= OFTEN else "fairly sure"


@dataclass(frozen=True)
class Recommended:
    """The network to take, with its test accuracy, the 95 % interval and the number of seeds.

    why: why this one, a sentence; scatter: whether what seeds differ by is in the interval.
    """

    model: Model
    accuracy: float
    low: float
    high: float
    seeds: int
    parameters: int
    flops: int
    why: str
    scatter: bool = True

    @staticmethod
    def of(one: Configuration, why: str) -> Recommended:
        """A configuration as it was measured, and why it is the one to take."""
        accuracy = one.test_accuracy
        return Recommended(
            one.model,
            accuracy.mean,
            accuracy.low,
            accuracy.high,
            accuracy.n,
            one.parameters,
            one.flops,
            why,
            accuracy.scatter_known,
        )


@dataclass(frozen=True)
class Sized:
    """A network of the chart of error against parameters: test errors as fractions.

    zone: "too small", "enough", "larger than needed"; empty where the tests don't say.
    scatter: whether what seeds differ by is in the interval.
    """

    model: Model
    parameters: int
    filters: int
    error: float
    low: float
    high: float
    zone: Literal["too small", "enough", "larger than needed", ""] = ""
    scatter: bool = True


@dataclass(frozen=True)
class Table:
    """Columns are (key, heading, format), rows map keys to plain JSON values.

    Formats are text, int, loss, percent, float, seconds.
    """

    name: str
    title: str
    columns: tuple[tuple[str, str, str], ...]
    rows: list[dict[str, Any]]
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with its data inside.

    `alt` says in words what a reader without the picture should know.
    by: what tells it apart from the charts of one family, between which the page has a switch; a
        family are those whose names begin alike, up to the first "_".
    folded: why the page shows it on request alone; empty where it shows it at once.
    """

    name: str
    title: str
    spec: dict[str, Any]
    alt: str
    caption: str = ""
    by: str = ""
    folded: str = ""

    @property
    def family(self) -> str:
        """As "loss" of "loss_filters"; empty where it stands alone."""
        return self.name.partition("_")[0] if self.by else ""


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side: (PNG bytes, the words below it).

    `alt` says in words what they show; `width` is a picture's width on the page, in pixels.
    slider: what a slider goes over, as "layer", if the page shows one picture at a time.
    rows: the places of pictures that begin a new row.
    """

    name: str
    title: str
    items: tuple[tuple[bytes, str], ...]
    alt: str
    caption: str = ""
    width: int = 96
    slider: str = ""
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Damage:
    """A run of which a file is missing or is not what was written.

    why: which one, in one line.
    trained_again: it was set aside and trained again; else the report leaves the run out.
    """

    run: str
    why: str
    trained_again: bool = False


@dataclass(frozen=True)
class Finding:
    """A chapter's answer to its question.

    verdict: in a few words; brief: as a clause, for the one sentence on the whole study.
    sentence: the verdict in one sentence, computed from `numbers`.
    paragraphs: the method, each "Head. Text"; proof: the numbered steps of an argument.
    gives: what later chapters build on; it is no part of the report.
    missing: evidence that the verdict goes without, a line each.
    headlines: the answers, a short sentence each; change: what would change the verdict.
    lead: the chart or gallery that makes the point, by its name; the first one where it is empty.
    explains: the heads of the paragraphs that say why it is so; the others are the method.
    recommended: the network to take; sized: those of the chart of error against parameters.
    """

    name: str
    title: str
    question: str
    verdict: str
    sentence: str
    numbers: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    brief: str = ""
    proof: list[str] = field(default_factory=list)
    gives: CapacityResult | BestResult | None = None
    missing: tuple[str, ...] = ()
    headlines: tuple[Headline, ...] = ()
    change: tuple[str, ...] = ()
    lead: str = ""
    explains: tuple[str, ...] = ()
    recommended: Recommended | None = None
    sized: tuple[Sized, ...] = ()

    @property
    def answer(self) -> str:
        """The short answer: that of the first headline, else the verdict."""
        return self.headlines[0].text if self.headlines else self.verdict

    @property
    def explanation(self) -> list[str]:
        """The paragraphs that say why it is so."""
        return [text for text in self.paragraphs if text.partition(". ")[0] in self.explains]

    @property
    def method(self) -> list[str]:
        """The paragraphs that say how it was found."""
        return [text for text in self.paragraphs if text not in self.explanation]

    def __str__(self) -> str:
        missing = f" Missing evidence: {'; '.join(self.missing)}." if self.missing else ""
        return f"{self.title}: {self.sentence}{missing}"

    def texts(self) -> Iterator[str]:
        """Every text that a reader of the chapter sees, cells of tables among them."""
        yield from (self.title, self.question, self.verdict, self.sentence)
        yield from (*self.paragraphs, *self.proof, *self.missing, *self.change)
        for told in self.headlines:
            yield from (told.question, told.text, told.why, told.wrong)
        for table in self.tables:
            yield from (table.title, table.caption, *(heading for _, heading, _ in table.columns))
            yield from (v for row in table.rows for v in row.values() if isinstance(v, str))
        for shown in (*self.charts, *self.galleries):
            yield from (shown.title, shown.caption)

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>"
            for k, v in self.numbers.items()
        )
        title, sentence = html.escape(self.title), html.escape(self.sentence)
        return f"<h3>{title}</h3><p>{sentence}</p><table>{rows}</table>"
