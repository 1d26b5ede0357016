"""The texts of the chapters: every macro is used, and what is rendered is clean English."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

import convscope
from convscope import data
from convscope.chapters import best
from convscope.chapters.best.choice import candidates
from convscope.chapters.best.winner import confusion_chart, filters, mistakes
from convscope.chapters.best.words import TEXTS as BEST
from convscope.chapters.capacity.words import TEXTS as CAPACITY
from convscope.data.dataset import Dataset
from convscope.planning import reference
from convscope.planning.context import Context, Search
from convscope.planning.requests import Answer, Give, Wait
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Chart, Finding, Gallery
from convscope.statistics.estimation import Estimate
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here

CHAPTERS = Path(convscope.__file__).parent / "chapters"
FILES = sorted(CHAPTERS.rglob("*.jinja"))
OWN = [file for file in FILES if file.name == "texts.jinja"]  # a chapter's, not the shared ones
MOST_WORDS = 45
FLAWS = re.compile(
    r"  |\n"  # two spaces, a line break
    r"| [,.;:!?)](?!\d)|\( "  # a space where none belongs
    r"|,,|;;|\.\.(?!\.)|[,;][.;]"  # two marks where one belongs
    r"|\b(?:None|nan|inf|True|False|Undefined)\b|[{}]|Counter|dict_"  # values that are no words
    r"|\b1 (?:seeds|epochs|networks|trials|widths|images|parameters)\b"
)


# every macro has a use, every use a macro


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.parent.name)
def test_every_macro_is_used_and_every_text_is_there(file: Path) -> None:
    texts = file.read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in file.parent.glob("*.py"))
    macros = re.findall(r"{%-? macro (\w+)\(", texts)
    assert len(macros) == len(set(macros)) > 3
    asked = set(re.findall(r"\bTEXTS\.(\w+)", code))
    within = set(re.findall(r"(?<!macro )\b(\w+)\(", texts))
    assert asked <= set(macros), f"not in {file.name}: {asked - set(macros)}"
    for series in re.findall(r'getattr\(TEXTS, f"(\w+){', code):  # the code lists how they end
        asked |= {series + end for end in re.findall(r'"(\w+)"', code)} & set(macros)
    unused = set(macros) - asked - within
    assert not unused, f"no one uses {unused}"


def test_every_shared_piece_is_used_where_it_is_imported() -> None:
    shared = (CHAPTERS / "pieces.jinja").read_text(encoding="utf-8")
    imported: set[str] = set()
    for file in (one for one in FILES if one.name != "pieces.jinja"):
        texts = file.read_text(encoding="utf-8")
        for line in re.findall(r"{% from \"chapters/pieces.jinja\" import (.+) %}", texts):
            names = set(line.split(", "))
            assert names <= set(re.findall(r"\b(\w+)\(", texts)), file
            imported |= names
    assert imported == set(re.findall(r"{%-? macro (\w+)\(", shared))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_texts_fit_an_editor(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100 and not any(line != line.rstrip() for line in lines)


# what a reader sees


def texts_of(finding: Finding) -> Iterator[str]:
    yield from (finding.sentence, finding.brief, finding.verdict, *finding.paragraphs)
    for table in finding.tables:
        yield from (table.title, table.caption)
    for part in (*finding.charts, *finding.galleries):
        yield from texts_of_part(part)


def texts_of_part(part: Chart | Gallery) -> Iterator[str]:
    yield from (part.title, part.alt, part.caption)
    if isinstance(part, Gallery):
        yield from (text for _, text in part.items)


def check(texts: Iterator[str]) -> str:
    """The texts are clean; returns all of them in one."""
    seen = [text for text in texts if text]
    for text in seen:
        flaw = FLAWS.search(text)
        assert flaw is None, (flaw, text)
        for sentence in re.split(r"(?<=[.?!])\s+", text):
            assert len(sentence.split()) <= MOST_WORDS, sentence
    return "\n".join(seen)


def check_paragraphs(finding: Finding) -> None:
    """The page shows what comes before the first full stop as a heading."""
    for paragraph in finding.paragraphs:
        heading, _, rest = paragraph.partition(". ")
        assert 0 < len(heading.split()) <= 6 and rest.endswith(".") and rest[0].isupper(), paragraph
    assert finding.sentence.endswith(".") and not finding.brief.endswith(".")


@pytest.mark.parametrize("text", ["a  b", "a , b", "One None.", "1 seeds", "a .", "x " * 46])
def test_the_check_finds_flaws(text: str) -> None:
    with pytest.raises(AssertionError):
        check(iter([text]))


@pytest.fixture(scope="module")
def images(micro: Path) -> Dataset:
    return data.load(micro)


Maker = Callable[..., Run]


# best: the chapter is driven with runs that are made up


@pytest.fixture(autouse=True)
def small_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(best.PRESETS, "quick", best.Preset(6, (1, 3), 1))
    small = reference.Reference(replace(reference.reference_model(8), depth=2), 4)
    monkeypatch.setitem(reference.REFERENCES, "quick", small)
    monkeypatch.setattr("convscope.planning.epochs.REFERENCE_IMAGES", 1)


def best_of(
    images: Dataset,
    run_of: Callable[[Recipe, random.Random], Run | None],
    seeds: int = 2,
    **search: object,
) -> Finding:
    """The chapter's finding where this function trains; weights and latencies are not there."""
    base = Recipe(data_hash=images.hash, batch=16)
    context = Context(
        images, "quick", tuple(range(seeds)), base, ("best",), live=False, search=Search(**search)
    )
    draw = random.Random(0)
    chapter = best.chapter(replace(context, needs=best.NEEDS))
    step = next(chapter)
    while True:
        answer = Answer()
        if not isinstance(step, Wait | Give):
            (request,) = step
            made = (run_of(recipe, draw) for recipe in request.recipes)
            answer = Answer({request.role: [run for run in made if run is not None]})
        try:
            step = chapter.send(answer)
        except StopIteration as end:
            return end.value


def made_up(recipe: Recipe, draw: random.Random, status: str = "finished") -> Run:
    row = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0, "train_seconds": 1.0}
    for split in ("train", "val", "test"):
        row |= {f"{split}_loss": draw.uniform(0.5, 1), f"{split}_loss_sd": 0.5}
        row |= {f"{split}_accuracy": draw.uniform(0.4, 0.9)}
    rows = (row,) if status == "finished" else ()
    size = {"filters": 8, "parameters": 1000 * recipe.epochs + recipe.model.width, "flops": 9000}
    return Run(Path("nowhere") / recipe.id, recipe, rows, status, size, 1.0)


def is_final(recipe: Recipe) -> bool:
    return "test" in recipe.evaluate


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_best_with_several_seeds(images: Dataset, sampler: str) -> None:
    found = best_of(images, made_up, sampler=sampler)
    told = check(texts_of(found))
    check_paragraphs(found)
    assert "means of 2 seeds" in found.sentence and "far from a search of all" in found.sentence
    assert {"tpe": "TPE sampler", "random": "random sampler", "grid": "coarse grid"}[
        sampler
    ] in told
    assert "The rungs are 1 and 3 epochs" in told and "reached the highest rung" in told
    assert "with fewer than 20 trials" in told and "Pictures. Those of the winner are" in told
    assert f"{found.numbers['parameters']:,} parameters" in found.sentence


def test_best_with_one_seed(images: Dataset) -> None:
    found = best_of(images, made_up, seeds=1)
    told = check(texts_of(found))
    assert "from one seed." in found.sentence and "The winner is trained anew with one seed" in told


def test_best_with_one_configuration(images: Dataset) -> None:
    found = best_of(images, made_up, trials=1)
    check(texts_of(found))
    assert found.verdict == "cannot tell from one configuration"
    assert "There is none to compare it with." in found.sentence
    assert "One trial cannot search" in found.sentence


def test_best_where_nothing_is_trained_to_the_end(images: Dataset) -> None:
    def lost(recipe: Recipe, draw: random.Random) -> Run | None:
        return None if is_final(recipe) else made_up(recipe, draw)

    def diverged(recipe: Recipe, draw: random.Random) -> Run:
        return made_up(recipe, draw, "diverged" if is_final(recipe) else "finished")

    def nothing(recipe: Recipe, draw: random.Random) -> None:
        return None

    for run_of, words in (
        (lost, "no network has been trained to the end"),
        (nothing, "no network has been trained to the end"),
        (diverged, "none finished (diverged)"),
    ):
        found = best_of(images, run_of)
        check(texts_of(found))
        check_paragraphs(found)
        assert found.verdict == "cannot tell" and words in found.sentence


def test_pictures_of_the_winner(images: Dataset) -> None:
    context = Context(images, "quick", (0,), Recipe())
    names = ["cat", "dog"]
    (winner,) = candidates([made_up(Recipe(), random.Random(0))], [], context)
    for counts, words in (
        ([(0, 0, 3), (0, 1, 2), (1, 1, 4)], "cat taken for dog, 2 times."),
        ([(0, 0, 1), (1, 0, 1)], "dog taken for cat, 1 time."),
        ([(0, 0, 5)], "5 of 5 test images are classified right"),
    ):
        assert words in check(texts_of_part(confusion_chart(counts, names, winner)))
    wrong = mistakes([(0, 1, 0.987), (1, 0, 0.5)], [f"class {i}" for i in range(10)], context)
    assert wrong is not None and "class 1 99 %; is class " in check(texts_of_part(wrong))
    for channels, words in ((1, "orange positive;"), (3, "in colour around"), (4, "first channel")):
        shown = filters(nn.Conv2d(channels, 2, 3))
        assert shown is not None and words in check(texts_of_part(shown))


@pytest.mark.parametrize(("seeds", "said"), [(1, True), (2, False)])
def test_a_figure_of_one_seed_says_so_in_the_sentence_on_the_study(seeds: int, said: bool) -> None:
    accuracy = Estimate(0.7, 0.01, 0.68, 0.72, seeds, 0.0, 0.01)
    one = SimpleNamespace(
        label="width 4", filters=28, parameters=1_000, test_accuracy=accuracy, model="a"
    )
    other = SimpleNamespace(**{**vars(one), "model": "b"})
    for text in BEST.brief(one, None), CAPACITY.brief(one, one), CAPACITY.brief(other, one):
        assert ("70.0 % ± 2.0, one seed: ± is of the images alone)" in text) == said
