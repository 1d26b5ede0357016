"""MLflow: an experiment for the study, in it a run of the whole, of each chapter, and of each run.

The tracking server is MLFLOW_TRACKING_URI; without it, FOLDER/mlflow holds a SQLite file and the
artifacts. The experiment is MLFLOW_EXPERIMENT_NAME, or the name of the study's folder. A run that
goes on is found by its tag, and only later epochs are added.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from convscope.errors import UserError, did_you_mean, one_line
from convscope.studies.trackers.tracker import Begun, Found, Tracker, flat, library, numbers

KEY = "convscope.key"  # the tag by which a run is found again
PARENT = "mlflow.parentRunId"  # MLflow's own: its pages show such runs below their parent
REPORT = "report"
MOST_PARAMS = 100  # of a request

# MLflow would try for minutes to reach a server that is away, and reports its own use
USUAL = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}  # all others: FAILED


# what MLflow's own client writes to; plugins add to them
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "uc")
FILES = ("", "file")


def check_address(address: str) -> None:
    """UserError for an address of no tracking server, as far as that is known without asking it."""
    shown = f"track mlflow: MLFLOW_TRACKING_URI {one_line(address)!r}"
    scheme, colon, _ = address.partition(":")
    alone = scheme in ("databricks", "databricks-uc", "uc")  # these need no more
    scheme = scheme.partition("+")[0] if colon or alone else ""
    if scheme in FILES:
        allowed = getattr(library("mlflow.environment_variables"), "MLFLOW_ALLOW_FILE_STORE", None)
        if allowed is not None and not allowed.get():
            raise UserError(
                f"{shown}: this MLflow writes no plain files; use sqlite:///PATH/mlflow.db, "
                "or set MLFLOW_ALLOW_FILE_STORE=true"
            )
        return
    plugins = {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}
    if scheme not in (*SCHEMES, *plugins) and not scheme.startswith("databricks"):
        raise UserError(f"{shown}: {did_you_mean(scheme, SCHEMES).lstrip('; ')}")


class ToMlflow(Tracker):
    def __init__(self, folder: Path) -> None:
        for name, value in USUAL.items():
            os.environ.setdefault(name, value)
        check_address(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:")
        self.folder, self.study = folder, folder.resolve().name
        self.prefix = hashlib.sha256(self.study.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self.known: tuple[Any, str] | None = None
        self.runs: dict[str, str] = {}  # our key -> MLflow's id

    @property
    def client(self) -> Any:
        return self.opened()[0]

    def opened(self) -> tuple[Any, str]:
        """The client and the experiment's id. Making a new SQLite file takes seconds."""
        if self.known is None:
            mlflow = library("mlflow")
            uri, place = os.environ.get("MLFLOW_TRACKING_URI"), None
            if not uri:
                own = self.folder.resolve() / "mlflow"
                own.mkdir(exist_ok=True)
                address = library("mlflow.utils.file_utils").path_to_local_sqlite_uri
                uri = address(str(own / "mlflow.db"))
                place = (own / "artifacts").as_uri()
            client = mlflow.MlflowClient(tracking_uri=uri)
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.study
            name = name.encode("utf-8", "replace").decode()
            found = client.get_experiment_by_name(name)
            try:
                number = found.experiment_id if found else client.create_experiment(name, place)
            except mlflow.MlflowException:  # another process was quicker
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
                number = found.experiment_id
            self.known = client, number
        return self.known

    def run_of(self, key: str, name: str, parent: str | None, tags: Mapping[str, str]) -> bool:
        """Open a run, or find it; returns whether it was there before."""
        client, experiment = self.opened()
        own = f"{self.prefix}-{key}"
        found = client.search_runs([experiment], f"tags.`{KEY}` = '{own}'", max_results=1)
        if found:
            self.runs[key] = found[0].info.run_id
            client.update_run(self.runs[key], status="RUNNING")
            return True
        above = {} if parent is None else {PARENT: parent}
        all_tags = {**tags, KEY: own, "study": self.study, **above}
        made = client.create_run(experiment, tags=all_tags, run_name=name)
        self.runs[key] = made.info.run_id
        return False

    def whole(self) -> str:
        """The id of the run that stands for the study."""
        if REPORT not in self.runs:
            self.run_of(REPORT, self.study, None, {"kind": "study"})
        return self.runs[REPORT]

    def chapter(self, name: str) -> str:
        """The id of a chapter's run, below which its runs are."""
        key = f"chapter-{name}"
        if key not in self.runs:
            self.run_of(key, name, self.whole(), {"kind": "chapter", "chapter": name})
        return self.runs[key]

    def started(self, begun: Begun) -> int:
        Param = library("mlflow.entities").Param
        parent = self.chapter(begun.group) if begun.asked else None
        tags = {
            "kind": "pilot" if begun.pilot else "run",
            "chapter": begun.group,
            "chapters": ",".join(begun.asked),
            "configuration": begun.configuration,
            "seed": str(begun.seed),
        }
        if self.run_of(begun.run, begun.name, parent, tags):
            history = self.client.get_metric_history(self.runs[begun.run], "seconds")
            return max((metric.step for metric in history), default=0)
        params = [Param(key, str(value)) for key, value in flat(begun.settings).items()]
        for first in range(0, len(params), MOST_PARAMS):
            part = params[first : first + MOST_PARAMS]
            self.client.log_batch(self.runs[begun.run], params=part)
        return 0

    def log(self, run: str, values: Mapping[str, Any], step: int) -> None:
        Metric = library("mlflow.entities").Metric
        now = time.time_ns() // 1_000_000
        metrics = [Metric(key, value, now, step) for key, value in numbers(values).items()]
        self.client.log_batch(self.runs[run], metrics=metrics)

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        self.log(run, values, epoch)

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        self.log(run, summary, int(summary.get("best_epoch", 0)))
        number = self.runs.pop(run)
        self.client.set_tag(number, "status", status)
        if summary.get("message"):
            self.client.set_tag(number, "message", summary["message"])
        self.client.set_terminated(number, STATUS.get(status, "FAILED"))

    def found(self, found: Found) -> None:
        number = self.chapter(found.chapter)
        for key, text in found.texts.items():
            self.client.set_tag(number, key, text)
        self.client.set_tag(number, "mlflow.note.content", found.sentence)
        titles = {name: title for name, title, _ in found.charts}
        self.client.log_text(number, json.dumps(titles, ensure_ascii=False), "charts/titles.json")
        for _, _, path in found.charts:
            self.client.log_artifact(number, path, "charts")
        self.client.set_terminated(number)

    def report(self, sentence: str, files: Sequence[Path]) -> None:
        number = self.whole()
        self.client.set_tag(number, "mlflow.note.content", sentence)
        self.client.set_tag(number, "sentence", sentence)
        for path in files:
            self.client.log_artifact(number, str(path))
        self.client.set_terminated(number)

    def close(self) -> None:
        for number in self.runs.values():  # a study that was broken off, or runs that failed to end
            if self.client.get_run(number).info.status == "RUNNING":
                self.client.set_terminated(number, "KILLED")
