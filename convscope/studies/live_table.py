"""What a study shows on a terminal: the networks with their losses, the best, the time left."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convscope.errors import one_line
from convscope.planning import Request, duration
from convscope.recipe import Recipe, label_of
from convscope.studies.clock import Clock
from convscope.studies.progress import outcome
from convscope.studies.watcher import Watcher, run_label, short_runs
from convscope.training import Run

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"

POINTS = 16  # of a sparkline

ROWS = 10  # networks at most; the terminal may be lower

AROUND = 12  # lines of a terminal that are not networks

EACH_SECOND = 4  # redraws


def can_write(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[float], blocks: str = BLOCKS) -> str:
    """The last values as a line of blocks, the largest as the highest one."""
    shown = [value for value in values if value == value][-POINTS:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) / (len(blocks) - 1) or 1.0
    return "".join(blocks[round((value - low) / step)] for value in shown)


class Network:
    """What the table knows of a network: its runs' validation losses by epoch."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.losses: dict[str, list[float]] = {}  # by run
        self.running: set[str] = set()
        self.finished = 0
        self.epochs = ""
        self.accuracy: float | None = None  # of the finished run of lowest validation loss
        self.last = 0  # when something was heard, as a count

    @property
    def best(self) -> float | None:
        return min((min(losses) for losses in self.losses.values() if losses), default=None)


class LiveTable(Watcher):
    """A table that is drawn again and again at the terminal's end; lines go by above it."""

    def __init__(self, file: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.clock = Clock()
        self.console = Console(file=file, stderr=file is None, highlight=False)
        stream = file or sys.stderr
        encoding = getattr(stream, "encoding", None)
        self.blocks = BLOCKS if can_write(BLOCKS, encoding) else PLAIN_BLOCKS
        self.short: set[str] = set()  # ids of pilots and trials
        self.counts: dict[str, list[int]] = {}  # chapter -> runs that have ended, runs asked for
        self.networks: dict[str, Network] = {}
        self.heard = 0
        self.doing: tuple[str, int, int | None] | None = None
        self.live = Live(
            console=self.console,
            get_renderable=self.drawn,
            refresh_per_second=EACH_SECOND,
            transient=True,
        )

    def __enter__(self) -> LiveTable:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(one_line(text, 1000), markup=False)

    def step(self, description: str, done: int, total: int | None) -> None:
        self.doing = description, done, total

    def plan(self, costs: Mapping[str, float], workers: int, after: float = 0.0) -> None:
        self.clock.plan(costs, workers, after)
        self.counts = {chapter: [0, 0] for chapter in costs}
        self.doing = None

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        ids = [recipe.id for request in requests for recipe in request.recipes]
        new = [key for key in ids if key not in self.clock.chapters] if cost else []
        self.clock.asked(chapter, cost, skipped, ids)
        self.counts[chapter][1] += len(new)
        self.short |= short_runs(requests)

    def found(self, chapter: str) -> None:
        self.clock.found(chapter)

    def started(self, recipe: Recipe) -> None:
        self._network(recipe).running.add(recipe.id)

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.clock.trains(recipe.id, cost)
        network = self._network(recipe)
        if row.get("val_loss") is not None:
            network.losses.setdefault(recipe.id, []).append(row["val_loss"])
        network.epochs = f"{row['epoch']}/{recipe.epochs}"

    def ended(self, recipe: Recipe, run: Run) -> None:
        network = self._network(recipe)
        network.running.discard(recipe.id)
        network.finished += 1
        if (chapter := self.clock.chapters.get(recipe.id)) in self.counts:
            self.counts[chapter][0] += 1
        if run.status != "finished":
            line = f"{run_label(recipe)}: {run.status} {run.message}".strip()
            self.console.print(line, style="red", markup=False)
        elif recipe.id not in self.short:
            if network.best is None or run.best["val_loss"] <= network.best:
                network.accuracy = run.best["test_accuracy"]
            self.console.print(f"{run_label(recipe)}: {outcome(run)}", markup=False)

    def _network(self, recipe: Recipe) -> Network:
        label = one_line(label_of(recipe.model), 80)
        network = self.networks.setdefault(label, Network(label))
        self.heard += 1
        network.last = self.heard
        return network

    def drawn(self) -> RenderableType:
        """The table as it is now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        if not self.clock.forecast:
            return Text(said_of(self.doing), no_wrap=True, overflow="ellipsis")
        share, left = self.clock.share(), duration(self.clock.left())
        best = min(
            (one for one in self.networks.values() if one.accuracy is not None),
            key=lambda one: one.best if one.best is not None else float("inf"),
            default=None,
        )
        lines = [Text(f"{100 * share:.0f} %, about {left} left", style="bold")]
        if best is not None and best.accuracy is not None:
            told = f"best so far: {best.label}, test accuracy {100 * best.accuracy:.1f} %"
            lines.append(Text(told, no_wrap=True, overflow="ellipsis", style="green"))
        bar = ProgressBar(total=1.0, completed=share, width=min(60, self.console.width))
        return Group(self._of_networks(), self._of_chapters(), bar, *lines)

    def _of_networks(self) -> Table:
        from rich.table import Table

        table = Table(box=None, padding=(0, 1), expand=False)
        table.add_column("network", no_wrap=True, overflow="ellipsis", max_width=44)
        table.add_column("runs", justify="right", no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column("validation loss", no_wrap=True)
        table.add_column("best", justify="right", no_wrap=True)
        most = max(1, min(ROWS, self.console.height - AROUND))
        order = sorted(self.networks.values(), key=lambda one: (not one.running, -one.last))
        for network in order[:most]:
            losses = next(reversed(network.losses.values()), [])
            table.add_row(
                text(network.label),
                str(network.finished),
                network.epochs,
                sparkline(losses, self.blocks),
                "" if network.best is None else f"{network.best:.3f}",
                style=None if network.running else "dim",
            )
        return table

    def _of_chapters(self) -> Table:
        from rich.table import Table

        table = Table(box=None, padding=(0, 1), show_header=False)
        for chapter, (ended, asked) in self.counts.items():
            seconds = self.clock.of_chapter(chapter)
            state = f"about {duration(seconds)}" if chapter in self.clock.waiting else "done"
            table.add_row(text(chapter.replace("_", " ")), f"{ended} of {asked} runs", state)
        return table


def text(shown: str) -> Any:
    """A text in which nothing is markup."""
    from rich.text import Text

    return Text(shown)


def said_of(doing: tuple[str, int, int | None] | None) -> str:
    """What goes on before the training, in one line."""
    if doing is None:
        return ""
    description, done, total = doing
    amount = f"{100 * done // total} %" if total else f"{done:,}"
    return one_line(f"{description}: {amount}")
