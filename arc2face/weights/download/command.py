"""The download command: one implementation for `scripts/download_models.py` and `arc2face download`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from arc2face.errors import SettingsError
from arc2face.weights.download.plan import Options, Plan, Precision, make_plan
from arc2face.weights.download.run import Event, fetch
from arc2face.weights.download.sources import Remote
from arc2face.weights.download.text import LineProgress, ask_licences, size, table, tell_outcome, tell_plan
from arc2face.weights.licences import LICENCES
from arc2face.weights.table import FEATURES

__all__ = ["DownloadRequest", "run"]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What the command line asked for; see `--help` for the meaning of each."""

    features: tuple[str, ...]
    models: Path
    mirror: str | None = None
    precision: Precision = "auto"
    accept: tuple[str, ...] = ()
    yes: bool = False
    dry_run: bool = False
    listing: bool = False
    as_json: bool = False
    unpinned: bool = False
    trust_changed: bool = False
    quick: bool = False


def run(
    request: DownloadRequest,
    out: TextIO,
    ask: Callable[[str], str] | None = None,
    progress: Callable[[Event], None] | None = None,
) -> int:
    """Carries out a request. `out` hears plain text, or one JSON object at the end when `as_json` is set.

    `ask` puts a question to the person and returns the answer; None when nobody can be asked. Returns the exit code:
    0 when everything asked for is there, 3 when files were left out for their licence. Raises Arc2FaceError.
    """
    if request.listing:
        _list(request, out)
        return 0
    words = sys.stderr if request.as_json else out
    plan = _plan(request, ask, words)
    tell_plan(plan, words)
    if request.dry_run or not plan.jobs:
        return _end(request, plan, out, {"fetched": [], "first_use": [], "notes": []})
    if ask is not None and not request.yes and ask("Fetch now? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        print("Nothing was fetched.", file=words)
        return 1
    outcome = fetch(plan, progress or LineProgress(words))
    tell_outcome(outcome, words)
    return _end(request, plan, out, asdict(outcome))


def _plan(request: DownloadRequest, ask: Callable[[str], str] | None, words: TextIO) -> Plan:
    if unknown := set(request.accept) - set(LICENCES):
        names = ", ".join(key for key, licence in LICENCES.items() if licence.must_accept)
        raise SettingsError(f"Unknown licence {', '.join(sorted(unknown))}; those to accept are {names}.")
    if unknown := set(request.features) - set(FEATURES):
        raise SettingsError(f"Unknown feature {', '.join(sorted(unknown))}; choose from {', '.join(FEATURES)}.")
    options = Options(
        mirror=request.mirror,
        precision=request.precision,
        accepted=frozenset(request.accept),
        trust_changed=request.trust_changed,
        verify=not request.quick,
        remote=Remote.from_env(unpinned=request.unpinned),
    )
    plan = make_plan(request.features, request.models, options)
    if plan.blocked and ask is not None and not request.yes:
        accepted = ask_licences(request.features, options.accepted, ask, words)
        if accepted != options.accepted:
            return make_plan(request.features, request.models, replace(options, accepted=accepted))
    return plan


def _end(request: DownloadRequest, plan: Plan, out: TextIO, outcome: dict[str, object]) -> int:
    if request.as_json:
        answer = {
            "models": str(plan.root),
            "present": [file.path for file in plan.present],
            "planned": [{"path": job.path, "bytes": job.bytes} for job in plan.jobs],
            "left_out": [
                {"path": job.path, "licence": job.licence.key, "pages": list(job.licence.pages)} for job in plan.blocked
            ],
            **outcome,
        }
        print(json.dumps(answer, indent=2), file=out)
    return 3 if plan.blocked else 0


def _list(request: DownloadRequest, out: TextIO) -> None:
    rows = table()
    if request.as_json:
        print(json.dumps(rows, indent=2), file=out)
        return
    for row in rows:
        count = row["bytes"]
        known = size(count if isinstance(count, int) else None)
        print(f"{row['path']}\n    {row['title']}; {known}; {row['licence']}; {row['source']}", file=out)
