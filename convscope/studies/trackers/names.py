"""The trackers by name, and how several are asked for; nothing heavy is imported for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convscope.errors import UserError, did_you_mean, one_line


@dataclass(frozen=True)
class Known:
    """A tracker.

    home: "module:class" of the Tracker.
    library: the module without which it cannot be used.
    """

    home: str
    library: str


HERE = "convscope.studies.trackers"
HAD = "mirrored-{}.txt"  # in the folder where its files go: the ids of the runs that it has whole

# each has an extra of its own name in pyproject.toml
TRACKERS: dict[str, Known] = {
    "wandb": Known(f"{HERE}.to_wandb:ToWandb", "wandb"),
    "tensorboard": Known(f"{HERE}.to_tensorboard:ToTensorboard", "tensorboard"),
    "mlflow": Known(f"{HERE}.to_mlflow:ToMlflow", "mlflow"),
    "trackio": Known(f"{HERE}.to_trackio:ToTrackio", "trackio"),
}


def check_trackers(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names that are asked for, each once.

    asked: "wandb", "wandb,mlflow" or a list of names; None: no tracker.
    Raises UserError for an unknown name, and for a tracker that is not installed.
    """
    if asked is None:
        return ()
    texts = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"track = {one_line(asked)}: names are expected, as {', '.join(TRACKERS)}")
    names = tuple(dict.fromkeys(text.strip() for text in texts))
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"track {one_line(name)!r}{did_you_mean(name, TRACKERS)}")
    for name in names:
        if not installed(TRACKERS[name].library):
            raise UserError(f"track {name}: not installed; pip install 'convscope[{name}]'")
    return names


def joined_names(asked: str | Sequence[str] | None) -> str | None:
    """The names that are asked for as one text, "wandb,mlflow"; None where there are none."""
    return None if asked is None else ",".join(check_trackers(asked)) or None


def installed(library: str) -> bool:
    """Whether a library is there, without importing it.

    A folder of that name that holds data is none, such as the one where wandb keeps its files.
    """
    try:
        found = importlib.util.find_spec(library)
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None


def had_by(name: str, folder: Path) -> set[str]:
    """The ids of the runs that a tracker has whole; the last line may be cut off."""
    try:
        text = (folder / HAD.format(name)).read_text()
    except OSError:
        return set()
    return set(text[: text.rfind("\n") + 1].split())


def all_have(names: str | Sequence[str] | None, folder: Path, run: str) -> bool:
    """Whether each of these trackers has a run whole; without names it is."""
    return all(run in had_by(name, folder) for name in check_trackers(names))
