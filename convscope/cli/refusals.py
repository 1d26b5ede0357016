"""What cannot work is refused at once: before torch is imported, anything measured or written.

All of it is checked again where it is used, with torch's own knowledge; here is what is known
without.
"""

from __future__ import annotations

import glob
import importlib.machinery
import importlib.util
import os
import re
import stat
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.cli.printing import say
from convscope.errors import UserError, did_you_mean, one_line
from convscope.recipe import ConvNet, Custom, Model, Recipe, read_recipe
from convscope.recipes import NAMED

if TYPE_CHECKING:
    from convscope.data import Options, Outline

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, GPUs of Windows in WSL
LONGEST_PATH = 4096  # bytes; Linux takes no longer one


def refuse(recipe: Recipe) -> None:
    """UserError for a recipe that cannot be trained on this machine."""
    refuse_device(recipe.device)
    refuse_factory(recipe.model)
    from convscope.data import Options

    refuse_images(recipe, looked_at(recipe.data, Options.of(recipe), recipe.val))


def looked_at(data: str, options: Options, val: float = 0.1) -> Outline:
    """What is known of a data set; UserError where it is not there or cannot be used."""
    from convscope.data import check_there
    from convscope.studies import Lines

    found = check_there(data, options, val, Lines().step)
    for remark in found.remarks:
        say(remark)
    return found


def refuse_splits(data: str, options: Options, val: float) -> None:
    """UserError where a study would have no image to choose by."""
    from convscope.studies.study_request import check_splits

    known = looked_at(data, options, val)
    train, held = known.train(val), known.held(val)
    if train is not None and held is not None and "val" not in known.splits:
        check_splits(known.name, train, held, test=1)  # one is held out where there is none


def refuse_images(recipe: Recipe, known: Outline) -> None:
    """UserError where batch, crop or network do not fit the images."""
    from convscope.models import check_sides
    from convscope.training import check_batch, check_crop

    left = known.train(recipe.val)
    if left is not None:
        check_batch(recipe, min(left, recipe.limit or left))
    check_crop(recipe, known.in_shape)
    if isinstance(recipe.model, ConvNet):
        check_sides(recipe.model, known.in_shape)


def refuse_device(name: str) -> None:
    """UserError for a text that names no device, and for a GPU where no driver is loaded."""
    shown = f"device {one_line(name)!r}"
    if not DEVICE.fullmatch(name):
        raise UserError(f"{shown}: write auto, cpu, cuda, cuda:N or mps")
    if (name.startswith("cuda") and has_no_gpu()) or (name == "mps" and sys.platform != "darwin"):
        raise UserError(f"{shown}: this machine has cpu")


def has_no_gpu() -> bool:
    """Whether it is known, without torch, that no GPU can be used: no driver is loaded."""
    linux = sys.platform.startswith("linux")
    return linux and not any(os.path.lexists(path) for path in DRIVERS)


def refuse_factory(model: Model) -> None:
    """UserError where a user's factory or its module is nowhere to be found."""
    if not isinstance(model, Custom):
        return
    refuse_module(model.factory, f"model {one_line(model.factory)!r}")
    from convscope.models import check_factory_name

    check_factory_name(model.factory)


def refuse_module(given: str, shown: str) -> None:
    """UserError where the module of "module:name" is nowhere to be found; it is not imported."""
    top = given.partition(":")[0].partition(".")[0]
    path = [str(Path.cwd()), *sys.path]
    try:
        found = top in sys.modules or importlib.machinery.PathFinder.find_spec(top, path)
        found = found or importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if not found:
        raise UserError(f"{shown}: ModuleNotFoundError: No module named {one_line(top)!r}")


def refuse_tracker(name: str | Sequence[str] | None) -> None:
    """UserError for the name of no tracker, and for one that is not installed."""
    from convscope.studies.trackers import check_trackers

    check_trackers(name)


def refuse_operator(name: str) -> None:
    """UserError for the name of no built-in operator."""
    from convscope.probes import reasons

    if name not in (known := reasons()):
        raise UserError(f"operator {one_line(name)!r}{did_you_mean(name, known)}")


def refuse_side(name: str, given: str, data: str | None = None) -> None:
    """UserError where A or B of a comparison names nothing that is there.

    name: what the message calls it.
    given: the text.
    data: takes the place of a recipe's; None: its own.
    """
    if given in NAMED:
        return
    for part in given.split(","):
        path, shown = Path(part), f"{name}: {one_line(part)!r}"
        try:
            there = bool(part) and (glob.has_magic(part) or path.exists() or Path(given).exists())
        except OSError as error:
            raise UserError(f"{shown}: {error.strerror}") from None
        if not there:
            raise UserError(
                f"{shown}: no such folder; name a run, a folder of runs, a study, a recipe file "
                "or a named recipe"
            )
        if path.is_file() and path == Path(given):
            recipe = read_recipe(path)
            refuse(recipe if data is None else replace(recipe, data=data))


def refuse_folder(name: str, given: str) -> None:
    """UserError where a text names no folder that is there.

    name: what the message calls it.
    given: the text.
    """
    shown = f"{name} {one_line(given)!r}"
    if not given.strip():
        raise UserError(f"{shown}: empty; name a folder")
    try:
        there = Path(given).stat()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        why = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"{shown}: {'no such folder' if missing else why}") from None
    if not stat.S_ISDIR(there.st_mode):
        raise UserError(f"{shown}: is a file; name a folder")


def refuse_images_named(images: Sequence[str]) -> None:
    """UserError for images to be predicted that are not there; "-" is standard input."""
    for name in images:
        shown = f"images {one_line(name)!r}"
        try:
            there = name == "-" or Path(name).exists()
        except (OSError, ValueError) as error:
            raise UserError(f"{shown}: {getattr(error, 'strerror', None) or error}") from None
        if not there:
            raise UserError(f"{shown}: no such file or folder")


def refuse_run(run: str) -> None:
    """UserError where a text names no finished run, read from its files alone."""
    from convscope.training import runs_named

    runs_named(run)


def folder_of(out: str, name: str = "out") -> Path:
    """The folder where runs or files go; UserError where none can be made there.

    out: the text.
    name: what the message calls it.
    """
    shown = f"{name} {one_line(out)!r}"
    if not out.strip():
        raise UserError(f"{shown}: empty; name a folder")
    if not out.isprintable() or len(os.fsencode(out)) >= LONGEST_PATH:
        raise UserError(
            f"{shown}: a path of printable characters is expected, below {LONGEST_PATH:,} bytes"
        )
    path = Path(out)
    try:
        there = next(
            folder for folder in [path.absolute(), *path.absolute().parents] if folder.exists()
        )
    except OSError as error:
        raise UserError(f"{shown}: {error.strerror}; name another folder") from None
    if not there.is_dir():
        raise UserError(f"{shown}: {one_line(there)} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"{shown}: read-only; name a folder that can be written")
    return path
