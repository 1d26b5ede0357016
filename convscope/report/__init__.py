"""Findings become a page, files, charts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.report.configurations import configurations_table as configurations_table
    from convscope.report.configurations import with_balanced as with_balanced
    from convscope.report.drawing import Drawings as Drawings
    from convscope.report.files import run_entry as run_entry
    from convscope.report.files import write_csv as write_csv
    from convscope.report.findings import BestResult as BestResult
    from convscope.report.findings import CapacityResult as CapacityResult
    from convscope.report.findings import Chart as Chart
    from convscope.report.findings import Damage as Damage
    from convscope.report.findings import Finding as Finding
    from convscope.report.findings import Gallery as Gallery
    from convscope.report.findings import Headline as Headline
    from convscope.report.findings import Recommended as Recommended
    from convscope.report.findings import Sized as Sized
    from convscope.report.findings import Sure as Sure
    from convscope.report.findings import Table as Table
    from convscope.report.findings import sure_of as sure_of
    from convscope.report.operator_charts import MEASURES as MEASURES
    from convscope.report.operator_charts import Panel as Panel
    from convscope.report.pdf import check_browser as check_browser
    from convscope.report.pdf import print_pdf as print_pdf
    from convscope.report.rendering import write_report as write_report
    from convscope.report.sweep_page import sweep_page_of as sweep_page_of
    from convscope.report.table_files import table_csv as table_csv
    from convscope.report.table_files import table_latex as table_latex
    from convscope.report.table_files import table_markdown as table_markdown
    from convscope.report.table_files import table_text as table_text
    from convscope.report.two_studies import page_of_two as page_of_two
    from convscope.report.two_studies import read_both as read_both

_HOMES = {
    "BestResult": "findings",
    "CapacityResult": "findings",
    "Chart": "findings",
    "Damage": "findings",
    "Drawings": "drawing",
    "Finding": "findings",
    "Gallery": "findings",
    "Headline": "findings",
    "MEASURES": "operator_charts",
    "Panel": "operator_charts",
    "Recommended": "findings",
    "Sized": "findings",
    "Sure": "findings",
    "Table": "findings",
    "check_browser": "pdf",
    "configurations_table": "configurations",
    "page_of_two": "two_studies",
    "print_pdf": "pdf",
    "read_both": "two_studies",
    "run_entry": "files",
    "sure_of": "findings",
    "sweep_page_of": "sweep_page",
    "table_csv": "table_files",
    "table_latex": "table_files",
    "table_markdown": "table_files",
    "table_text": "table_files",
    "with_balanced": "configurations",
    "write_csv": "files",
    "write_report": "rendering",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
