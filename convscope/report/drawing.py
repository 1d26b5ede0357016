"""Charts are drawn in a process of their own, beside whatever is computed here.

A process, not a thread: vl-convert holds the interpreter's lock while it draws. The page's script
is put together there, too. The process imports nothing of this package that needs torch.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from convscope.engines import end_with_parent, no_main_module

if TYPE_CHECKING:
    from convscope.report.findings import Finding


# the page's script by the version of Vega-Lite: it takes seconds, and each report has the same
_scripts: dict[str, str] = {}


@dataclass(frozen=True)
class Drawn:
    """A chart in both formats of its files."""

    svg: bytes
    png: bytes  # two pixels per point; empty where there is none


class Drawings:
    """The charts of findings, drawn while the next one is computed; for a with statement.

    svg_only: for a page of still pictures: there is no PNG, and the page's script is not made.
    """

    def __init__(self, *, svg_only: bool = False) -> None:
        self.svg_only = svg_only
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), begin)
        # (chapter, chart) -> its specification and its drawing
        self.drawn: dict[tuple[str, str], tuple[dict[str, Any], Future[Drawn]]] = {}
        self.bundle: Future[str] | None = None

    def __enter__(self) -> Drawings:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def start(self) -> None:
        """Begin with what is the same for all studies; the first finding does that, too."""
        if self.svg_only:
            self.submit(warm)
        elif self.bundle is None and dialect() not in _scripts:
            self.bundle = self.submit(script, dialect())

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            with no_main_module():
                return self.pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def add(self, finding: Finding) -> None:
        """Have the charts of a finding drawn, except those that are the same as before."""
        if not self.svg_only:
            self.start()
        for chart in finding.charts:
            key = finding.name, chart.name
            if key not in self.drawn or self.drawn[key][0] != chart.spec:
                self.drawn[key] = chart.spec, self.submit(draw, chart.spec, *self.how)

    def of(self, chapter: str, chart: str) -> Drawn:
        """A chart that was added; waits until it is drawn."""
        spec, drawn = self.drawn[chapter, chart]
        return finished(drawn, draw, spec, *self.how)

    @property
    def how(self) -> tuple[str, bool]:
        """How all charts are drawn: the version of Vega-Lite, and whether as PNG, too."""
        return dialect(), not self.svg_only

    @property
    def script(self) -> str:
        """Vega, Vega-Lite and Vega-Embed as one script that loads nothing: window.vegaEmbed."""
        self.start()
        if self.bundle is not None:
            _scripts[dialect()] = finished(self.bundle, script, dialect())
        return _scripts[dialect()]


def finished(future: Future[Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """What the process found; computed here if the process was killed (often: out of memory)."""
    try:
        return future.result()
    except BrokenProcessPool:
        return function(*arguments)


def begin() -> None:
    """What the process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=end_with_parent, daemon=True).start()


@cache
def dialect() -> str:
    """The version of Vega-Lite that Altair writes, as vl-convert names it."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def warm() -> None:
    """Import what draws."""
    importlib.import_module("vl_convert")


def draw(spec: dict[str, Any], version: str, png: bool) -> Drawn:
    """A Vega-Lite specification of the version that is named, drawn without a browser."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=version)
    return Drawn(svg.encode(), vl_convert.svg_to_png(svg, scale=2) if png else b"")


def script(version: str) -> str:
    """The page's script, see Drawings.script."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
