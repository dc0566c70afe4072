"""The report: one HTML file about a sweep or some runs, that opens anywhere without a network."""

from shoal.review.report.page import render, write_report

__all__ = ["render", "write_report"]
