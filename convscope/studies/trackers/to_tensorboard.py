"""TensorBoard: FOLDER/tensorboard/CHAPTER/NAME for each run, and a folder for each chapter.

Hyperparameters lie in the run's own event file, where the HPARAMS tab finds them; the runs that
differ in their seed alone are one group there. TensorBoard holds no files: of the report it gets
the sentence, and where it lies. What a folder held before is written again, whole, so that a run
that goes on has each epoch once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope.studies.trackers.tracker import Begun, Found, Tracker, flat, library, numbers

LONGEST_PART = 80  # characters of a folder's name, below the 255 bytes of file systems
SPLITS = ("train", "val", "test")


class ToTensorboard(Tracker):
    def __init__(self, folder: Path) -> None:
        self.root, self.runs = folder / "tensorboard", dict[str, Any]()

    def writer(self, place: Path) -> Any:
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        files = library("tensorboard.summary.writer.event_file_writer")
        return files.EventFileWriter(str(place), flush_secs=10)

    def started(self, begun: Begun) -> int:
        name = plain_name(f"{begun.name}, {begun.run}")
        writer = self.runs[begun.run] = self.writer(self.root / (begun.group or "runs") / name)
        shared = {**begun.config, **begun.size}  # by all seeds: a group has one value of each
        shared.pop("seed", None)
        told = {"chapters": ",".join(begun.asked), "pilot": begun.pilot}
        hparams = library("tensorboard.plugins.hparams.summary_v2").hparams_pb
        add(writer, hparams({**flat(shared), **told}, trial_id=begun.configuration))
        recipe = json.dumps(begun.settings, indent=1, ensure_ascii=False)
        add(writer, text_summary("recipe", f"```json\n{recipe}\n```"))
        return 0

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        add(self.runs[run], scalars({tag_of(key): value for key, value in values.items()}), epoch)

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        writer = self.runs.pop(run)
        add(writer, scalars(numbers(summary)), int(summary.get("best_epoch", 0)))
        add(writer, text_summary("status", f"{status} {summary.get('message', '')}".strip()))
        add(writer, session_end(status == "finished"))
        writer.close()

    def found(self, found: Found) -> None:
        writer = self.writer(self.root / plain_name(found.chapter))
        for key, text in found.texts.items():
            add(writer, text_summary(key, text))
        for name, _, path in found.charts:
            add(writer, picture(name, Path(path)))
        writer.close()

    def report(self, sentence: str, files: Sequence[Path]) -> None:
        writer = self.writer(self.root / "report")
        add(writer, text_summary("sentence", sentence))
        listed = "\n".join(f"- `{path}`" for path in files)
        add(writer, text_summary("files", listed))
        writer.close()

    def close(self) -> None:
        for writer in self.runs.values():
            writer.close()


def plain_name(text: str) -> str:
    """A text as one part of a path: what would end it, or hide it, becomes a dash."""
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in text)
    if len(kept) > LONGEST_PART:  # the end has the id, which tells runs apart
        kept = f"{kept[: LONGEST_PART - 41]}…{kept[-40:]}"
    return kept.strip(" .") or "-"


def tag_of(key: str) -> str:
    """val_loss -> loss/val: TensorBoard draws what is before the slash side by side."""
    split, _, what = key.partition("_")
    return f"{what}/{split}" if split in SPLITS and what else key


def add(writer: Any, summary: Any, step: int = 0) -> None:
    event = library("tensorboard.compat.proto.event_pb2").Event(wall_time=time.time(), step=step)
    event.summary.CopyFrom(summary)
    writer.add_event(event)


def session_end(success: bool) -> Any:
    """How a run ended, for the HPARAMS tab; the library's own function needs TensorFlow."""
    hparams = "tensorboard.plugins.hparams"
    api, metadata = library(f"{hparams}.api_pb2"), library(f"{hparams}.metadata")
    plugin = library(f"{hparams}.plugin_data_pb2")
    code = api.STATUS_SUCCESS if success else api.STATUS_FAILURE
    end = plugin.SessionEndInfo(status=code, end_time_secs=time.time())
    told = metadata.create_summary_metadata(plugin.HParamsPluginData(session_end_info=end))
    Summary = library("tensorboard.compat.proto.summary_pb2").Summary
    tag, nothing = metadata.SESSION_END_INFO_TAG, metadata.NULL_TENSOR
    return Summary(value=[Summary.Value(tag=tag, metadata=told, tensor=nothing)])


def scalars(values: Mapping[str, float]) -> Any:
    Summary = library("tensorboard.compat.proto.summary_pb2").Summary
    return Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])


def picture(name: str, path: Path) -> Any:
    """A PNG file as it is; TensorBoard wants its sides, too."""
    from PIL import Image

    with Image.open(path) as opened:
        width, height = opened.size
    Summary = library("tensorboard.compat.proto.summary_pb2").Summary
    image = Summary.Image(
        height=height, width=width, colorspace=4, encoded_image_string=path.read_bytes()
    )
    return Summary(value=[Summary.Value(tag=name, image=image)])


def text_summary(tag: str, text: str) -> Any:
    return library("tensorboard.plugins.text.summary_v2").text_pb(tag, text)
