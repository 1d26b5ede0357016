"""report.html: one file that opens without network.

Charts are drawn by Vega inside the page; every name from outside is escaped.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from convscope.data import Dataset, info
from convscope.errors import one_line
from convscope.recipe import label_of, model_from_json, short_label_of
from convscope.report.assignment import CHAPTERS, THEORY, asked_of
from convscope.report.drawing import Drawings
from convscope.report.explorer import explorer_of
from convscope.report.files import MEASURES
from convscope.report.findings import Chart, Finding, Gallery, Table
from convscope.report.formulas import with_formulas
from convscope.report.glossary import used
from convscope.report.naming import Names
from convscope.report.opening import opening_of
from convscope.report.playground import playground_of
from convscope.report.prose import Prose
from convscope.report.same_network import notes_of
from convscope.training import Run
from convscope.words import count

if TYPE_CHECKING:
    import jinja2

SCRIPTS = ("page.js", "page_charts.js", "page_brush.js")
SAMPLES = 10  # of each class
MOST_CLASSES = 20
MOST_ROWS = 30  # a longer table is folded up

# ways to read the page, each with what it unfolds
READERS = (
    ("student", "the assignment's questions in its order, with the reasons"),
    ("practitioner", "which network, what it costs, how sure"),
    ("researcher", "everything, with effect sizes, tables and the method"),
)
OWN_WORDS = ("nat", "pilot", "preset", "seed", "sweep")  # that the page itself says
# sentences of a chapter's answer that stand before its picture: the third of "best" has the test
# accuracy, that of "ordering" says what the experiment shows
SHORT_ANSWER = {"best": 3, "ordering": 3}
SHORT = 2


def page_of(
    about: dict[str, Any],
    findings: dict[str, Finding],
    tree: dict[str, Any],
    data: Dataset,
    drawings: Drawings,
    trained: Sequence[Run] = (),
) -> bytes:
    """The page as bytes of UTF-8.

    about: what study.json says of the study; findings: by chapter; tree: that of results.json.
    data: for the sample images; drawings: for the script that draws the charts.
    trained: the runs with their epochs, for the explorer.
    """
    from markupsafe import Markup

    runs = tree["runs"]
    names = Names(model_from_json(run["model"]) for run in runs)
    glossary = used(findings.values(), OWN_WORDS)
    made = environment()
    made.filters |= filters_of(names, Prose(names, glossary))
    opening = opening_of(about, findings)
    page = made.get_template("page.html").render(
        about=about,
        findings=findings,
        opening=opening,
        tree=tree,
        names=names,
        key=names.key,
        readers=READERS,
        assignment=CHAPTERS,
        asked=asked_of(findings, opening.answers),
        short_answer=short_answer,
        trained_elsewhere=notes_of(findings, runs, names),
        theory=THEORY,
        runs=runs_table(runs),
        train_samples=train_samples(runs),
        glossary=glossary,
        most_rows=MOST_ROWS,
        failures=[run for run in runs if run["status"] != "finished"],
        left_out=[one for one in tree["damaged"] if not one["trained_again"]],
        trained_again=[one for one in tree["damaged"] if one["trained_again"]],
        info=info(data),
        samples=sample_rows(data),
        explorer=explorer_of(tree, trained, data, short_label_of),
        playground=playground_of(tree),
        style=Markup(part("page.css")),
        script=Markup("".join(map(part, SCRIPTS))),
        vega=Markup(vega(findings, drawings)),  # last: it may still be put together
    )
    return page.encode("utf-8", "backslashreplace")


def vega(findings: dict[str, Finding], drawings: Drawings) -> str:
    """The script that draws the charts; "" where there are none."""
    charts = any(finding.charts for finding in findings.values())
    return drawings.script.replace("</script", "<\\/script") if charts else ""


def part(name: str) -> str:
    return (files("convscope.report") / name).read_text(encoding="utf-8")


def environment() -> jinja2.Environment:
    """HTML: whatever a template shows is escaped."""
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("convscope.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["cell"] = cell
    made.filters["one_line"] = one_line
    made.filters["png_address"] = png_address
    made.filters["script_json"] = lambda value: Markup(script_json(value))
    made.filters["sort_value"] = sort_value
    made.filters["sentences"] = sentences
    return made


def filters_of(names: Names, prose: Prose) -> dict[str, Any]:
    """The template's filters that know the study."""

    def linked(text: object, chapter: str = "", formulas: bool = False, links: bool = True) -> Any:
        return prose.html(text, chapter, formulas, links)

    anchors: set[str] = set()

    def anchor(name: str, chapter: str) -> str:
        """A table's place: "table-networks", of a second one so named "table-best-networks"."""
        place = f"table-{chapter}-{name}" if f"table-{name}" in anchors else f"table-{name}"
        anchors.add(place)
        return place

    return {
        "anchor": anchor,
        "prose": linked,
        "formulas": with_formulas,
        "plain_names": lambda text: names.plain(str(text)),
        "short_names": names.everywhere,
        "ahead": ahead,
        "lead": lead_of,
    }


@dataclass(frozen=True)
class Lead:
    """A chapter's picture that makes the point, the others, and what there is to look at closer.

    family: that picture, where it is a chart, and the others of its family.
    charts: the further ones, by family; folded: those that are shown on request alone.
    """

    chart: Chart | None
    gallery: Gallery | None
    family: list[Chart]
    charts: list[list[Chart]]
    folded: list[Chart]
    galleries: list[Gallery]
    tables: int

    @property
    def contents(self) -> str:
        """As "5 charts, 2 tables"."""
        charts = [*self.charts, *self.folded]
        counted = ((charts, "chart", "charts"), (self.galleries, "gallery", "galleries"))
        told = [count(len(shown), *words) for shown, *words in counted if shown]
        return ", ".join([*told, *([count(self.tables, "table")] if self.tables else [])])


def lead_of(finding: Finding) -> Lead:
    """The picture that the finding names, else its first chart, else its first gallery."""
    charts, galleries = list(finding.charts), list(finding.galleries)
    named = [one for one in (*charts, *galleries) if one.name == finding.lead]
    first = next(iter([*named, *charts, *galleries]), None)
    chart = first if isinstance(first, Chart) else None
    gallery = first if isinstance(first, Gallery) else None
    families = by_family(charts)
    lead = next((family for family in families if chart in family), [])
    return Lead(
        chart,
        gallery,
        [one for one in lead if one is chart] + [one for one in lead if one is not chart],
        [family for family in families if family is not lead and not family[0].folded],
        [one for family in families if family is not lead for one in family if one.folded],
        [one for one in galleries if one is not gallery],
        len(finding.tables),
    )


def by_family(charts: Sequence[Chart]) -> list[list[Chart]]:
    """Charts between which there is a switch, together; the others alone, in their order."""
    found: dict[str, list[Chart]] = {}
    for chart in charts:
        found.setdefault(chart.family or f"{chart.name} alone", []).append(chart)
    return list(found.values())


def script_json(value: Any) -> str:
    """JSON inside a script element: nothing in it ends the element or starts a comment."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def png_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def cell(value: Any, form: str) -> str:
    """A value as the reader sees it; a missing one is a dash, never 0."""
    if value is None or value == "":
        return "–"
    shown = {
        "int": lambda v: f"{v:,}",
        "loss": lambda v: f"{v:.3f}",
        "percent": lambda v: f"{100 * v:.1f} %",
        "float": lambda v: f"{v:.4g}" if abs(v) < 1000 else f"{v:,.0f}",
        "seconds": lambda v: f"{v:,.1f} s",
        "text": lambda v: one_line(v),
    }
    return signed(shown[form](value)) if form != "text" else shown[form](value)


def signed(number: str) -> str:
    """A number with a minus sign, and none before 0."""
    if not number.startswith("-"):
        return number
    return f"−{number[1:]}" if re.search(r"[1-9]", number) else number[1:]


def ahead(columns: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """A table's columns, the test accuracy with its interval beside the name: seen at any width."""
    keys = [key for key, _, _ in columns]
    names = 2 if keys[0] in ("id", "number") else 1
    at = keys.index("test_accuracy") if "test_accuracy" in keys else names
    end = at + 1
    while end < len(columns) and columns[end][1] in ("±", "95 % from", "to"):
        end += 1
    return [*columns[:names], *columns[at:end], *columns[names:at], *columns[max(end, names) :]]


def short_answer(chapter: str, told: Sequence[str]) -> int:
    """How many of the answer's sentences stand before the picture: all, where one more is left."""
    short = SHORT_ANSWER.get(chapter, SHORT)
    return len(told) if len(told) <= short + 1 else short


def sentences(text: str) -> list[str]:
    """A text's sentences: each ends where a capital letter or a digit follows its full stop."""
    return re.split(r"(?<=\.)(?<! al\.) (?=[A-Z0-9])", text)


def sort_value(value: Any) -> str:
    """What the page's script sorts a cell by; "" where nothing is known."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, int | float) else one_line(value)


def train_samples(runs: list[dict[str, Any]]) -> str:
    """The number of training images that runs evaluate, as "5,000"; "" where it is all of them."""
    sizes = {run["recipe"].get("train_sample") for run in runs if not run["pilot"]} - {None}
    return " or ".join(f"{size:,}" for size in sorted(sizes))


RUNS_COLUMNS = (
    ("id", "run", "text"),
    ("network", "network", "text"),
    ("chapters", "chapters", "text"),
    ("status", "status", "text"),
    ("seed", "seed", "int"),
    ("parameters", "parameters", "int"),
    ("lr", "learning rate", "float"),
    ("epochs", "epochs", "int"),
    ("best_epoch", "best epoch", "int"),
    ("train_loss", "train loss", "loss"),
    ("val_loss", "val loss", "loss"),
    ("test_loss", "test loss", "loss"),
    ("test_accuracy", "test accuracy", "percent"),
    ("seconds", "time", "seconds"),
)


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Every run that is no pilot; `runs` as in results.json."""
    rows = []
    for run in (run for run in runs if not run["pilot"]):
        figures = run["best"] or {}
        known = {
            **run,
            **{key: figures.get(key) for key in MEASURES},
            "network": label_of(model_from_json(run["model"])),
            "chapters": ", ".join(run["chapters"]),
            "best_epoch": figures.get("epoch"),
        }
        rows.append({key: known[key] for key, _, _ in RUNS_COLUMNS})
    caption = (
        "At each run's best epoch (lowest validation loss). "
        "The folder runs/ holds every epoch of each."
    )
    return Table("runs", "All runs but pilots and trials", RUNS_COLUMNS, rows, caption)


def sample_rows(data: Dataset) -> list[dict[str, str]]:
    """A strip of the first training images of each class, as PNG data addresses."""
    from PIL import Image

    rows = []
    for label, name in list(enumerate(data.classes))[:MOST_CLASSES]:
        members = (data.train.labels == label).nonzero().flatten()[:SAMPLES]
        images = data.train.images[members].permute(0, 2, 3, 1).contiguous()  # n×H×W×C
        strip = images.permute(1, 0, 2, 3).reshape(images.shape[1], -1, images.shape[3]).numpy()
        picture = Image.fromarray(strip[..., 0] if strip.shape[2] == 1 else strip)
        file = io.BytesIO()
        picture.save(file, "PNG")
        shown = png_address(file.getvalue())
        rows.append({"name": name, "count": f"{len(members)}", "image": shown})
    return rows
