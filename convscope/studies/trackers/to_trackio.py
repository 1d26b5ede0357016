"""Trackio: a project for the study in FOLDER/trackio, or in TRACKIO_DIR; no network.

Trackio prints its failures in place of raising them, so they are listened for. A run that goes on
is found by its name, which ends with its id.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope.studies.trackers.tracker import Begun, Found, Tracker, library

REPORT = "report"

# what would make Trackio send data elsewhere
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL")


class ToTrackio(Tracker):
    def __init__(self, folder: Path) -> None:
        for name in ELSEWHERE:
            os.environ.pop(name, None)
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        # it is read once, when the library is imported
        self.place = Path(os.environ.setdefault("TRACKIO_DIR", str(folder.resolve() / "trackio")))
        self.project = folder.resolve().name.encode("utf-8", "replace").decode()
        self.runs: dict[str, Any] = {}
        self.heard: list[str] = []
        warnings.simplefilter("always")
        warnings.showwarning = self.hear  # this process is ours alone

    def hear(self, message: Warning | str, category: type[Warning], *rest: Any) -> None:
        del rest
        if issubclass(category, UserWarning) and "trackio" in str(message).lower():
            self.heard.append(str(message))

    def check(self) -> None:
        """Raises what Trackio complained of."""
        if self.heard:
            said, self.heard = self.heard[0], []
            raise RuntimeError(said)

    def open(self, name: str, group: str | None, config: dict[str, Any], anew: bool) -> Any:
        """A run of Trackio's by its name; `anew`: without what it held before."""
        trackio, storage = library("trackio"), library("trackio.sqlite_storage").SQLiteStorage
        self.place.mkdir(parents=True, exist_ok=True)
        if anew and storage.get_project_db_path(self.project).exists():
            for old in trackio.Api().runs(self.project):
                if old.name == name:
                    old.delete()
        run = trackio.init(
            project=self.project,
            name=name,
            group=group,
            config=config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.check()
        return run

    def started(self, begun: Begun) -> int:
        storage = library("trackio.sqlite_storage").SQLiteStorage
        name = f"{begun.name}, {begun.run}"
        told = {"chapters": list(begun.asked), "pilot": begun.pilot, "seed": begun.seed}
        config = {**begun.settings, **told}
        run = self.runs[begun.run] = self.open(name, begun.group or None, config, False)
        return storage.get_max_step_for_run(self.project, name, run_id=run.id) or 0

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        self.runs[run].log(dict(values), step=epoch)
        self.check()

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        open_run = self.runs.pop(run)
        # there is no summary: it stands beside the best epoch
        open_run.log({"status": status, **summary}, step=int(summary.get("best_epoch", 0)))
        open_run.finish()
        self.check()

    def found(self, found: Found) -> None:
        trackio = library("trackio")
        pictures = {name: trackio.Image(path, caption=title) for name, title, path in found.charts}
        run = self.open(found.chapter, found.chapter, {"title": found.title}, True)
        run.log({**found.texts, **pictures}, step=0)
        run.finish()
        self.check()

    def report(self, sentence: str, files: Sequence[Path]) -> None:
        trackio = library("trackio")
        run = self.open(REPORT, None, {}, True)
        run.log({"sentence": sentence}, step=0)
        artifact = trackio.Artifact(name=REPORT, type=REPORT)
        for path in files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)
        run.finish()
        self.check()

    def close(self) -> None:
        for open_run in self.runs.values():
            open_run.finish()
