"""What a run found, for people: one self-contained HTML page, and a picture of the front."""

from hwnas.report.findings import verdict
from hwnas.report.page import write
from hwnas.report.still import picture

__all__ = ["picture", "verdict", "write"]
