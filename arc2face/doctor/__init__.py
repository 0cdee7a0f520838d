"""Is everything there and right? Model files, software and machine, each with what to do about it.

    report = diagnose()
    report.healthy            # can the Identity tab make pictures?
    report.to_dict()          # JSON-ready

Importing this package is quick; torch and onnxruntime are imported while checking, unless `quick`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from arc2face.doctor.files import check_files
from arc2face.doctor.report import Check, Report
from arc2face.doctor.system import check_machine, check_software

__all__ = ["Check", "Report", "diagnose"]


def diagnose(
    models: Path | None = None, *, quick: bool = False, on_check: Callable[[Check], None] | None = None
) -> Report:
    """Checks everything; never raises for what it finds.

    `models`: models folder, None for the best one found. `quick` looks at names and sizes only: no hashes, nothing is
    loaded. `on_check` hears each finding as it comes.
    """
    found: list[Check] = []
    for group in (check_software(quick), check_machine(models, quick), check_files(models, quick)):
        for check in group:
            found.append(check)
            if on_check is not None:
                on_check(check)
    return Report(tuple(found))
