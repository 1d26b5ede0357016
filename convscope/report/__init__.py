"""Findings become a page, files, charts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.report.configurations import configurations_table as configurations_table
    from convscope.report.drawing import Drawings as Drawings
    from convscope.report.files import run_entry as run_entry
    from convscope.report.files import write_csv as write_csv
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
    from convscope.report.sweep_page import sweep_page_of as sweep_page_of
    from convscope.report.table_files import table_csv as table_csv
    from convscope.report.table_files import table_latex as table_latex
    from convscope.report.table_files import table_markdown as table_markdown
    from convscope.report.table_files import table_text as table_text

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
    "run_entry": "files",
    "sweep_page_of": "sweep_page",
    "table_csv": "table_files",
    "table_latex": "table_files",
    "table_markdown": "table_files",
    "table_text": "table_files",
    "write_csv": "files",
    "write_report": "rendering",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
