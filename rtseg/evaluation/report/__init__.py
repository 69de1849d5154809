"""The report of an evaluation: one HTML file with its pictures and charts inside."""

from rtseg.evaluation.report.html import require_report, write_report
from rtseg.evaluation.report.pictures import ReportPicture

__all__ = ["ReportPicture", "require_report", "write_report"]
