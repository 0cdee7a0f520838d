"""A drawn data set in the formats that others read.

from arc2face.dataset.export import FORMATS, export
summary = export("faces", "rec", "faces-rec")
"""

from __future__ import annotations

from arc2face.dataset.export.options import ALIGNMENTS, FORMATS, PICTURE_FORMATS, ExportFormat, ExportSummary
from arc2face.dataset.export.running import Progress, export

__all__ = ["ALIGNMENTS", "FORMATS", "PICTURE_FORMATS", "ExportFormat", "ExportSummary", "Progress", "export"]
