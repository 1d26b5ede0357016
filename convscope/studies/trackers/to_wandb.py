"""Weights & Biases: a run each, grouped by chapter, and a run for the study's report.

With WANDB_MODE=offline nothing needs a network or an account: runs go to FOLDER/wandb, for
`wandb sync` later. The project is WANDB_PROJECT, or "convscope". The id of a run depends on the
name of the study's folder and on the recipe alone, so that a run that was interrupted goes on as
the same run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line
from convscope.studies.trackers.tracker import Begun, Found, Tracker

REPORT = "report"
LONGEST_NAME, LONGEST_TAG = 128, 64  # what wandb takes


class ToWandb(Tracker):
    def __init__(self, folder: Path) -> None:
        import wandb

        self.wandb, self.folder, self.runs = wandb, folder, dict[str, Any]()
        self.prefix = hashlib.sha256(
            folder.resolve().name.encode("utf-8", "surrogateescape")
        ).hexdigest()[:8]
        try:  # without a key wandb.init would ask for one, in the middle of a study
            mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
            wandb.Settings(mode=mode)  # pyright: ignore[reportArgumentType] (checks it)
            online = mode in ("online", "shared")
            known = not online or wandb.login(prompt=False, verify=False)
        except Exception as error:
            raise UserError(f"track wandb: {one_line(error)}") from None
        # online, what cannot be uploaded within a minute stays in the files, for `wandb sync`;
        # offline there is nothing to wait for
        self.patience = 60 if online else 0
        if not known:
            raise UserError(
                "track wandb: no API key; run `wandb login` first, "
                "or set WANDB_MODE=offline and `wandb sync` later"
            )

    def open(self, key: str, **given: Any) -> Any:
        """A run of wandb's: `key` is that part of its id which tells it from others here."""
        mode = os.environ.get("WANDB_MODE") or None
        return self.wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "convscope",
            dir=str(self.folder),
            id=f"{self.prefix}-{key}",
            mode=mode,  # pyright: ignore[reportArgumentType] (wandb checks it)
            reinit="create_new",  # several runs of a study are open at a time
            resume="allow",
            settings=self.wandb.Settings(
                silent=True,
                console="off",
                init_timeout=20,
                finish_timeout=self.patience,
                finish_timeout_raises=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
            ),
            **given,
        )

    def started(self, begun: Begun) -> int:
        tags = [*begun.asked, *(["pilot"] if begun.pilot else [])]
        self.runs[begun.run] = self.open(
            begun.run,
            name=begun.name[:LONGEST_NAME],
            group=begun.group or None,
            job_type=begun.configuration[:LONGEST_TAG],  # its seeds fold up in one line
            tags=[tag[:LONGEST_TAG] for tag in tags],
            config=begun.settings,
        )
        return 0  # it ignores steps that it has

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        self.runs[run].log(dict(values), step=epoch, commit=True)

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        open_run = self.runs.pop(run)
        open_run.summary.update({"status": status, **summary})
        open_run.finish(exit_code=0 if status == "finished" else 1)

    @property
    def whole(self) -> Any:
        """The run for what is no single run's: verdicts, charts and the report."""
        if REPORT not in self.runs:
            self.runs[REPORT] = self.open(REPORT, name=REPORT, job_type=REPORT)
        return self.runs[REPORT]

    def found(self, found: Found) -> None:
        run = self.whole
        run.summary.update({f"{found.chapter}/{key}": text for key, text in found.texts.items()})
        pictures = {
            f"{found.chapter}/{name}": self.wandb.Image(path, caption=title)
            for name, title, path in found.charts
        }
        if pictures:
            run.log(pictures)

    def report(self, sentence: str, files: Sequence[Path]) -> None:
        self.whole.summary.update({"sentence": sentence})
        artifact = self.wandb.Artifact(f"{self.prefix}-{REPORT}", type=REPORT)
        for path in files:
            artifact.add_file(str(path))
        self.whole.log_artifact(artifact)
        self.runs.pop(REPORT).finish(exit_code=0)

    def close(self) -> None:
        for open_run in self.runs.values():  # of which something failed
            open_run.finish(exit_code=1)
