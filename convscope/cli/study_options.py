"""What `convscope study` was asked for: flags, then the environment, a file, and defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convscope.cli.printing import say
from convscope.cli.refusals import folder_of, refuse_device, refuse_splits, refuse_tracker
from convscope.cli.start import BEGAN, typed
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.studies.study_request import StudyRequest

PREFIX = "CONVSCOPE_"

# options that other commands have, too: the parser takes no environment for them
READING = ("size", "columns", "group_by", "resize", "classes")
SHARED = ("data", "device", *READING, "track", "engine", "address")


def asked_for(
    flags: Mapping[str, Any], settings: Sequence[str] | None, file: str | None
) -> StudyRequest:
    """The request, checked as far as can be without torch. Raises UserError.

    flags: the options; None where one is not given, by the command line or the environment.
    settings: CHAPTER.KEY=VALUE each.
    file: a study's TOML file.
    """
    from convscope.data import Options
    from convscope.studies.study_file import read_study, request_of
    from convscope.studies.study_request import check

    given = {key: value for key, value in flags.items() if value is not None}
    if "chapters" in given:
        given["chapters"] = [name.strip() for name in given["chapters"].split(",")]
    given = {**from_environment(given), **given}
    tree: dict[str, Any] = read_study(file) if file is not None else {}
    merged = {**tree, **given}
    if {"data", "val", *READING} & set(given):  # then the file's images are others
        merged.pop("data_hash", None)
    for chapter, values in settings_from(settings or ()).items():
        merged[chapter] = {**merged.get(chapter, {}), **values}
    if {"device", "workers"} & set(given):  # then the file's measurement is of something else
        merged.pop("machine", None)
    asked = replace(request_of(merged, typed()), began=BEGAN)
    refuse_device(asked.device)
    refuse_tracker(asked.track)
    check(asked)
    folder_of("runs" if asked.out is None else str(asked.out))
    if asked.data is not None:
        refuse_splits(asked.data, Options.of(asked), asked.val)
    return asked


def from_environment(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that CONVSCOPE_… gives and no flag does; all that it gives are said."""
    found: dict[str, Any] = {}
    for key in SHARED:
        text = os.environ.get(f"{PREFIX}{key.upper()}")
        if not text or key in given:
            continue
        if key == "size" and not text.isdecimal():
            raise UserError(f"{PREFIX}SIZE = {one_line(text)!r}: a whole number is expected")
        found[key] = int(text) if key == "size" else text
    names = (f"{PREFIX}{key.upper()}" for key in (*given, *found))
    told = [f"{name}={one_line(os.environ[name])}" for name in names if os.environ.get(name)]
    if told:
        say(f"from the environment, where no option says otherwise: {', '.join(told)}")
    return found


def settings_from(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By chapter the settings of --set. Raises UserError for another form."""
    from convscope.planning import SETTINGS, checked_grids

    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        chapter, dot, key = name.strip().partition(".")
        numbers = [part.strip() for part in value.split(",")]
        if not equals or not dot or not all(part.isdecimal() for part in numbers):
            raise UserError(
                f"set {one_line(text)!r}: write CHAPTER.KEY=NUMBERS, as capacity.widths=4,8,16"
            )
        values = [int(part) for part in numbers]
        listed = SETTINGS.get(chapter, {}).get(key) is list or len(values) > 1
        found.setdefault(chapter, {})[key] = values if listed else values[0]
    return checked_grids(found)
