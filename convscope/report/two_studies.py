"""Two studies on one page, side by side: their words, what differs, winner against winner."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line
from convscope.files import parse_json
from convscope.recipe import Model, model_from_json
from convscope.report.files import SCHEMA
from convscope.report.naming import Names
from convscope.report.page import environment
from convscope.words import count

# of a study, what is said side by side; a dot leads into a part of it
SETTINGS = (
    ("images", "data"),
    ("hash of the images", "data_hash"),
    ("preset", "preset"),
    ("chapters", "chapters"),
    ("seeds", "seeds"),
    ("held out for validation", "val"),
    ("split seed", "split_seed"),
    ("training images", "images.train"),
    ("validation images", "images.val"),
    ("test images", "images.test"),
    ("channels, height, width", "in_shape"),
    ("classes", "classes"),
    ("processor", "machine.processor"),
    ("cores", "machine.cores"),
    ("GPU", "machine.gpu"),
    ("torch", "machine.torch"),
    ("device", "choice.device"),
    ("precision", "choice.precision"),
    ("layout", "choice.layout"),
    ("kernels", "choice.kernels"),
    ("processes", "choice.workers"),
    ("threads of each", "choice.threads"),
    ("complete", "complete"),
    ("seconds", "seconds"),
)
MOST_NUMBERS = 24  # of a chapter

Row = tuple[str, str, str]  # what, of A, of B


@dataclass(frozen=True)
class TwoStudies:
    """Two studies as their results.json have them, and where they lie."""

    a: Path
    b: Path
    trees: tuple[Mapping[str, Any], Mapping[str, Any]]

    @property
    def told(self) -> str:
        """In a few words, how far they agree."""
        first, second = (tree["chapters"] for tree in self.trees)
        shared = first.keys() & second.keys()
        same = sum(first[name]["verdict"] == second[name]["verdict"] for name in shared)
        return f"{same} of {count(len(shared), 'shared chapter')} with the same word"


def read_both(a: Path, b: Path) -> TwoStudies:
    """The results of two studies. Raises UserError where one has none that can be read."""
    return TwoStudies(a, b, (results_of(a), results_of(b)))


def results_of(study: Path) -> Mapping[str, Any]:
    """A study's results.json. Raises UserError where it is none."""
    shown, again = f"study {one_line(study)}", f"convscope report {one_line(study)} writes it again"
    try:
        tree = parse_json((study / "results.json").read_bytes())
    except (OSError, UserError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{shown}: results.json: {why}; {again}") from None
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise UserError(f"{shown}: results.json: not of schema {SCHEMA}; {again}")
    parts = (("study", dict), ("chapters", dict), ("runs", list), ("sentence", str))
    for part, kind in parts:
        if not isinstance(tree.get(part), kind):
            raise UserError(f"{shown}: results.json: {part} is missing; {again}")
    return tree


def page_of_two(
    studies: TwoStudies, names: tuple[str, str], duel: Sequence[tuple[str, str]], why_not: str = ""
) -> bytes:
    """The page as bytes of UTF-8; one file that opens without network.

    studies: the two.
    names: as the user gave them.
    duel: winner against winner, rows of what and how much.
    why_not: why there is no such comparison; empty where there is one.
    """
    a, b = studies.trees
    order = dict.fromkeys([*a["chapters"], *b["chapters"]])
    chapters = [chapter_of(name, studies) for name in order]
    known = Names(models_of(a, b))
    made = environment()
    made.filters["one_line"] = lambda text, limit=200: one_line(known.plain(str(text)), limit)
    page = made.from_string(part("two_studies.html")).render(
        names=names,
        trees=studies.trees,
        settings=settings(a, b),
        alike=alike(a, b),
        chapters=chapters,
        duel=duel,
        why_not=why_not,
        key=known.key,
        style=part("two_studies.css"),
    )
    return page.encode("utf-8", "backslashreplace")


def models_of(*trees: Mapping[str, Any]) -> Iterator[Model]:
    """The networks of the studies' runs, as far as they can be read."""
    for tree in trees:
        for run in tree["runs"]:
            try:
                yield model_from_json(run["model"])
            except (UserError, KeyError, TypeError):
                continue


def part(name: str) -> Any:
    from markupsafe import Markup

    text = (files("convscope.report") / name).read_text(encoding="utf-8")
    return Markup(text) if name.endswith(".css") else text


def settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """How the studies were asked and computed, where they differ."""
    rows = [(what, *both(a, b, path)) for what, path in SETTINGS]
    rows.insert(0, ("convscope", str(a.get("convscope")), str(b.get("convscope"))))
    return [row for row in rows if row[1] != row[2]]


def alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rest: what both have alike."""
    rows = [(what, *both(a, b, path)) for what, path in SETTINGS]
    return [(what, one) for what, one, other in rows if one == other and one != "–"]


def both(a: Mapping[str, Any], b: Mapping[str, Any], path: str) -> tuple[str, str]:
    return shown(at(a["study"], path)), shown(at(b["study"], path))


def at(tree: Any, path: str) -> Any:
    """The value that a dotted path leads to; None where there is none."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def shown(value: Any) -> str:
    """A value of JSON as a reader sees it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        texts = [shown(one) for one in value]
        more = f" and {len(texts) - 10} more" if len(texts) > 10 else ""
        return f"{', '.join(texts[:10])}{more}"
    return f"{value:,}" if isinstance(value, int) else one_line(value)


def chapter_of(name: str, studies: TwoStudies) -> dict[str, Any]:
    """What the page shows of a chapter; a study may lack it."""
    found = [tree["chapters"].get(name) for tree in studies.trees]
    there = [one for one in found if one is not None]
    same = len(there) == 2 and there[0]["verdict"] == there[1]["verdict"]
    return {
        "name": name,
        "question": there[0]["question"],
        "sides": found,
        "word": "the same word" if same else "another word" if len(there) == 2 else "in one alone",
        "numbers": numbers_of(*there) if len(there) == 2 else [],
        "charts": charts_of(name, found, studies),
    }


def numbers_of(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """The chapter's plain figures that differ."""
    rows = []
    for key in dict.fromkeys([*a["numbers"], *b["numbers"]]):
        values = a["numbers"].get(key), b["numbers"].get(key)
        plain = all(value is None or isinstance(value, int | float | str) for value in values)
        if plain and values[0] != values[1]:
            rows.append((key.replace("_", " "), shown(values[0]), shown(values[1])))
    return rows[:MOST_NUMBERS]


def charts_of(
    name: str, sides: Sequence[Mapping[str, Any] | None], studies: TwoStudies
) -> list[dict[str, Any]]:
    """The charts of a chapter that lie in the studies' folders, those of one kind together."""
    known: dict[str, dict[str, Any]] = {}
    for i, (side, folder) in enumerate(zip(sides, (studies.a, studies.b), strict=True)):
        for chart in side["charts"] if side is not None else ():
            entry = known.setdefault(
                chart["name"], {"title": chart["title"], "pictures": ["", ""], "alts": ["", ""]}
            )
            entry["pictures"][i] = svg_address(folder, f"{name}-{chart['name']}.svg")
            entry["alts"][i] = chart["alt"]
    return [entry for entry in known.values() if any(entry["pictures"])]


def svg_address(folder: Path, name: str) -> str:
    """A chart as a data address; "" where its file is not in the study's folder."""
    charts = (folder / "charts").resolve()
    path = (charts / name).resolve()
    if path.parent != charts or not path.is_file():
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
