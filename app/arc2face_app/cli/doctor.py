"""`arc2face doctor`: is everything there and right?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arc2face.advice import spoken
from arc2face_app.cli import console
from arc2face_app.cli.options import AsJson, Models

if TYPE_CHECKING:
    from arc2face.doctor import Report

HELP = "Check model files, software and machine, and say what to do. Exit code 1 when something essential is wrong."

Quick = Annotated[bool, typer.Option("--quick", help="Names and sizes only: no hashes, nothing is loaded.")]
_SIGNS = {"ok": "[green]ok[/green]", "note": "note", "warning": "[yellow]warning[/yellow]", "error": "[red]ERROR[/red]"}


def run(models: Models = None, quick: Quick = False, as_json: AsJson = False) -> None:
    """Diagnoses and reports."""
    from arc2face.doctor import Report, diagnose

    with console.bars() as shown:
        task = shown.add_task("checking", total=None)
        report = diagnose(
            _folder(models), quick=quick, on_check=lambda c: shown.update(task, description=f"checked {c.name}")
        )
    report = Report(tuple(replace(check, remedy=spoken(check.remedy)) for check in report.checks))
    if as_json:
        console.answer(report.to_dict())
    else:
        _show(report)
    raise typer.Exit(0 if report.healthy else 1)


def _folder(models: Path | None) -> Path | None:
    return models.expanduser() if models is not None else None


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = Console(highlight=False)
    for group in ("software", "machine", "models"):
        table = Table(title=group.capitalize(), title_justify="left", box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold", max_width=40)
        table.add_column(overflow="fold")
        for check in report.checks:
            if check.group == group:
                remedy = f"\n-> {escape(check.remedy)}" if check.remedy else ""
                table.add_row(_SIGNS[check.status], escape(check.name), escape(check.detail) + remedy)
        out.print(table)
    errors, warnings = report.count("error"), report.count("warning")
    verdict = "Ready" if report.healthy else "Not ready"
    out.print(f"{verdict}. Errors: {errors}, warnings: {warnings}.")
