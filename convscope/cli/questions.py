"""`convscope doctor` and `convscope explain`: this machine, and the report's words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from convscope.cli.options import Json, Kernels, restrict_kernels
from convscope.cli.printing import show


def doctor(
    kernels: Kernels = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure now, and forget what was measured before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What this machine can do, measured once and kept."""
    restrict_kernels(kernels)
    from convscope.data import cache_folder
    from convscope.machine import (
        Numerics,
        as_dict,
        best_numerics,
        forget,
        recalled,
        this_machine,
        what_is_unusual,
    )
    from convscope.training import check_device, keep_freed_memory

    keep_freed_memory()
    machine = this_machine()
    device = check_device("auto")
    if again:
        forget()
    name = f"numerics {device}"
    best = recalled(name, lambda: best_numerics(device), lambda tree: Numerics(**tree))
    lines = {
        "machine": machine,
        "device": device,
        "precision": f"{best.precision}, {best.layout}",
        "kernels": f"{best.kernels} ({best.why_not})" if best.why_not else best.kernels,
        "data": cache_folder(),
    }
    texts = [f"{name:<9}  {value}" for name, value in lines.items()]
    unusual = what_is_unusual()
    texts += [f"{'note':<9}  {note}" for note in unusual]
    texts.append("images per second, one thread, whole training steps of a small network:")
    texts += [f"{rate:>9,.0f}  {way}" for way, rate in best.measured.items()]
    tree = {
        "machine": as_dict(machine),
        "device": device,
        "precision": best.precision,
        "layout": best.layout,
        "kernels": best.kernels,
        "no_compiled_kernels": best.why_not,
        "images_per_second": best.measured,
        "notes": unusual,
    }
    show("\n".join(texts), as_json, tree)


def explain(
    key: Annotated[
        str | None,
        typer.Argument(help="A verdict or a measure of the report; without it, all are listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Definition, formula, caveat and source of a verdict or measure."""
    from convscope.report import glossary

    if key is None:
        entries = glossary.ENTRIES.values()
        listing = "\n".join(f"{entry.key:<34}  {entry.title}" for entry in entries)
        show(listing, as_json, [asdict(entry) for entry in entries])
    else:
        entry = glossary.explain(key)
        show(entry, as_json, asdict(entry))
