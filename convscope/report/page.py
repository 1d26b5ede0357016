"""report.html: one file that opens without network. Charts are drawn by Vega inside the page; every name from outside is escaped."""

from __future__ import annotations

import base64
import io
import json
from importlib.resources import files
from typing import Any

from convscope.data import Dataset, info
from convscope.errors import one_line
from convscope.recipe import label_of, model_from_json
from convscope.report.drawing import Drawings
from convscope.report.findings import Finding, Table
from convscope.report.glossary import used

SAMPLES = 10  # of each class
MOST_CLASSES = 20
MOST_ROWS = 30  # a longer table is folded up


def page_of(
    about: dict[str, Any],
    findings: dict[str, Finding],
    tree: dict[str, Any],
    data: Dataset,
    drawings: Drawings,
) -> bytes:
    import jinja2
    from markupsafe import Markup

    here = files("convscope.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = cell
    environment.filters["one_line"] = one_line
    environment.filters["png_address"] = png_address
    environment.filters["script_json"] = lambda value: Markup(script_json(value))
    environment.filters["sort_value"] = sort_value
    page = environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        about=about,
        findings=findings,
        tree=tree,
        runs=runs_table(tree["runs"]),
        train_samples=train_samples(tree["runs"]),
        glossary=used(findings.values()),
        most_rows=MOST_ROWS,
        failures=[run for run in tree["runs"] if run["status"] != "finished"],
        info=info(data),
        samples=sample_rows(data),
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        script=Markup((here / "page.js").read_text(encoding="utf-8")),
        vega=Markup(drawings.script.replace("</script", "<\\/script"))
        if any(f.charts for f in findings.values())
        else "",
    )
    return page.encode("utf-8", "backslashreplace")


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: no character of it ends the element or starts a comment."""
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
        "float": lambda v: f"{v:g}",
        "seconds": lambda v: f"{v:,.1f} s",
        "text": lambda v: one_line(v),
    }
    return shown[form](value)


def sort_value(value: Any) -> str:
    return (
        "" if value is None else repr(value) if isinstance(value, int | float) else one_line(value)
    )


def train_samples(runs: list[dict[str, Any]]) -> str:
    """How many training images are evaluated by runs that evaluate a sample of them, as "5,000"; empty where none does."""
    sizes = {run["recipe"].get("train_sample") for run in runs if not run["pilot"]} - {None}
    return " or ".join(f"{size:,}" for size in sorted(sizes))


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Every run that is no pilot."""
    columns = (
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
    rows = []
    for run in runs:
        if run["pilot"]:
            continue
        best = run["best"] or {}
        figures = {
            key: best.get(key) for key in ("train_loss", "val_loss", "test_loss", "test_accuracy")
        }
        rows.append(
            {
                **{
                    key: run[key]
                    for key in ("id", "status", "seed", "parameters", "lr", "epochs", "seconds")
                },
                "network": label_of(model_from_json(run["model"])),
                "chapters": ", ".join(run["chapters"]),
                "best_epoch": best.get("epoch"),
                **figures,
            }
        )
    return Table(
        "runs",
        "All runs but the pilots",
        columns,
        rows,
        "At each run's best epoch (lowest validation loss). The folder runs/ holds every epoch of each.",
    )


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
        rows.append(
            {
                "name": name,
                "count": f"{len(members)}",
                "image": png_address(file.getvalue()),
            }
        )
    return rows
