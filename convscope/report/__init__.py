"""Findings become a page, files, charts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.report.configurations import configurations_table as configurations_table
    from convscope.report.configurations import with_balanced as with_balanced
    from convscope.report.drawing import Drawings as Drawings
    from convscope.report.findings import BestResult as BestResult
    from convscope.report.findings import CapacityResult as CapacityResult
    from convscope.report.findings import Chart as Chart
    from convscope.report.findings import Damage as Damage
    from convscope.report.findings import Finding as Finding
    from convscope.report.findings import Gallery as Gallery
    from convscope.report.findings import Table as Table
    from convscope.report.operator_charts import MEASURES as MEASURES
    from convscope.report.operator_charts import Panel as Panel
    from convscope.report.rendering import write_report as write_report

_HOMES = {
    "BestResult": "findings",
    "CapacityResult": "findings",
    "Chart": "findings",
    "Damage": "findings",
    "Drawings": "drawing",
    "Finding": "findings",
    "Gallery": "findings",
    "MEASURES": "operator_charts",
    "Panel": "operator_charts",
    "Table": "findings",
    "configurations_table": "configurations",
    "with_balanced": "configurations",
    "write_report": "rendering",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
