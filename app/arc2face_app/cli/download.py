"""`arc2face download`: the same as scripts/download_models.py, with progress bars."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arc2face_app.cli import console
from arc2face_app.cli.options import AsJson

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from arc2face.weights.download import Event

HELP = (
    "Fetch model files by feature: identity, fast, pose, expression, reference, small-decoder or all. "
    "Resumes after an interruption, verifies, and puts files in place in one step."
)

Features = Annotated[list[str] | None, typer.Argument(help="identity when omitted.", show_default=False)]
Folder = Annotated[Path, typer.Option("--models", help="Models folder.", envvar="ARC2FACE_MODELS")]
Mirror = Annotated[
    str | None,
    typer.Option(help="Folder or address with the same relative paths; nothing else is asked.", show_default=False),
]
PrecisionFlag = Annotated[str, typer.Option("--precision", help="auto, fp16 (smaller where it exists) or full.")]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-licence", help="You registered and accept: flame, emoca.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to begin (licences are not implied).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")]
Listing = Annotated[bool, typer.Option("--list", help="Show the table of all files.")]
Unpinned = Annotated[bool, typer.Option("--unpinned", help="Newest version instead of the pinned one.")]
TrustChanged = Annotated[bool, typer.Option("--trust-changed", help="Accept a file that changed since it was fetched.")]
QuickLook = Annotated[bool, typer.Option("--quick", help="Do not hash files that are there already.")]


def run(
    features: Features = None,
    models: Folder = Path("models"),
    mirror: Mirror = None,
    precision: PrecisionFlag = "auto",
    accept_licence: Accept = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    listing: Listing = False,
    unpinned: Unpinned = False,
    trust_changed: TrustChanged = False,
    quick: QuickLook = False,
    as_json: AsJson = False,
) -> None:
    """Plans, asks, fetches and reports."""
    from arc2face.weights.download.command import DownloadRequest
    from arc2face.weights.download.command import run as fetch

    request = DownloadRequest(
        features=tuple(features or ("identity",)),
        models=models.expanduser(),
        mirror=mirror,
        precision=_precision(precision),
        accept=tuple(accept_licence or ()),
        yes=yes,
        dry_run=dry_run,
        listing=listing,
        as_json=as_json,
        unpinned=unpinned,
        trust_changed=trust_changed,
        quick=quick,
    )
    someone_there = sys.stdin.isatty() and sys.stdout.isatty()
    with console.bars(of_bytes=True) as shown:
        watcher = None if shown.disable else _Bars(shown)
        raise typer.Exit(fetch(request, sys.stdout, _asker(shown) if someone_there else None, watcher))


def _precision(text: str) -> Any:
    if text not in ("auto", "fp16", "full"):
        raise typer.BadParameter("choose auto, fp16 or full.", param_hint="--precision")
    return text


def _asker(shown: Progress) -> Any:
    def ask(question: str) -> str:
        shown.stop()
        try:
            return input(question)
        finally:
            shown.start()

    return ask


class _Bars:
    """Turns download events into progress bars."""

    def __init__(self, shown: Progress) -> None:
        self.shown = shown
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "note":
            self.shown.console.print(event.message)
            return
        if event.title not in self.tasks:
            self.tasks[event.title] = self.shown.add_task(event.title[:50], total=event.total)
        task = self.tasks[event.title]
        words = {"verify": "checking ", "unpack": "unpacking "}.get(event.kind, "")
        self.shown.update(task, completed=event.done, description=words + event.title[:50])
        if event.kind == "done":
            self.shown.update(task, total=event.total or event.done, completed=event.total or event.done)
