"""Talking to a person in plain lines: the list, the plan, the questions, the progress.

Everything goes to the stream it is given. Used by `scripts/download_models.py`, which must run before anything is
installed, and by `arc2face download` for everything but its progress bars.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from arc2face.weights.download.plan import Plan
from arc2face.weights.download.run import Event, Outcome
from arc2face.weights.licences import LICENCES, Licence
from arc2face.weights.table import FEATURES, WEIGHTS, by_key

__all__ = ["LineProgress", "ask_licences", "size", "table", "tell_outcome", "tell_plan"]

_EVERY_SECONDS = 2.0


def size(count: int | None) -> str:
    """A number of bytes for people, in powers of ten as disks and browsers show it."""
    if count is None:
        return "size unknown"
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("bytes", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def table() -> list[dict[str, object]]:
    """The whole table of weights as JSON-ready rows."""
    return [
        {
            "key": w.key,
            "path": w.path,
            "title": w.title,
            "source": " ".join(part for part in (w.origin, w.repo, w.remote) if part),
            "revision": w.revision,
            "bytes": w.bytes,
            "sha256": w.sha256,
            "licence": LICENCES[w.licence].title,
            "features": [name for name, keys in FEATURES.items() if w.key in keys and name != "all"],
        }
        for w in WEIGHTS
    ]


def ask_licences(
    features: Sequence[str], accepted: frozenset[str], ask: Callable[[str], str] | None, out: TextIO
) -> frozenset[str]:
    """Asks for every licence that wants acceptance and has none yet; returns the accepted ones.

    Without `ask` (nobody sits there) nothing is asked and nothing is accepted.
    """
    keys = {by_key(key).licence for feature in features for key in FEATURES[feature]}
    for licence in sorted((LICENCES[key] for key in keys), key=lambda one: one.key):
        if not licence.must_accept or licence.key in accepted or ask is None:
            continue
        print(f"\n{licence.title}\n  {licence.summary}", file=out)
        for page in licence.pages:
            print(f"  Register and read the terms at {page}", file=out)
        answer = ask(f"Have you registered there and do you accept the {licence.key} licence? [y/N] ")
        if answer.strip().lower() in ("y", "yes"):
            accepted |= {licence.key}
    return accepted


def tell_plan(plan: Plan, out: TextIO) -> None:
    """What will be fetched, how large it is, under which terms, and what is left out."""
    for job in plan.jobs:
        why = f" (again: {job.replaces})" if job.replaces else ""
        print(f"  {size(job.bytes):>12}  {job.title}{why}", file=out)
    if plan.jobs:
        more = f" and {plan.unknown_sizes} of unknown size" if plan.unknown_sizes else ""
        print(
            f"{size(plan.known_bytes)}{more} to fetch into {plan.root}; {len(plan.present)} files are there.", file=out
        )
    else:
        print(f"Nothing to fetch: {len(plan.present)} files are in {plan.root}.", file=out)
    for licence in _restricted(plan):
        print(f"Licence: {licence.title}. {licence.summary} {licence.pages[0]}", file=out)
    for job in plan.blocked:
        licence = job.licence
        print(
            f"Left out: {job.title}. Register at {licence.pages[0]}, then run again with "
            f"--accept-licence {licence.key}, or put the files there by hand (docs/models.md).",
            file=out,
        )


def _restricted(plan: Plan) -> list[Licence]:
    used = {job.licence.key: job.licence for job in plan.jobs}
    return [licence for licence in used.values() if licence.commercial is not True]


def tell_outcome(outcome: Outcome, out: TextIO) -> None:
    """What came of it, and which hashes were taken on trust."""
    print(f"{len(outcome.fetched)} files fetched and verified.", file=out)
    if outcome.first_use:
        print(
            f"No published hash exists for {len(outcome.first_use)} of them ({', '.join(outcome.first_use)}). "
            "Their hashes are now in checksums.json; a later change will be noticed, a wrong first download would not.",
            file=out,
        )


@dataclass
class LineProgress:
    """One line per file and, while it comes, one every two seconds. For logs and terminals without colours."""

    out: TextIO
    clock: Callable[[], float] = time.monotonic
    _last: float = field(default=0.0, init=False)
    _began: tuple[float, int] = field(default=(0.0, 0), init=False)

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        now = self.clock()
        if event.kind == "start":
            self._last, self._began = now, (now, -1)
            print(f"{event.title} ({size(event.total)})", file=self.out, flush=True)
        elif event.kind == "bytes":
            if self._began[1] < 0 or event.done < self._began[1]:
                self._began = (now, event.done)
            if now - self._last >= _EVERY_SECONDS:
                self._last = now
                print(f"  {self._line(event, now)}", file=self.out, flush=True)
        elif event.kind in ("verify", "unpack"):
            print(f"  {'checking' if event.kind == 'verify' else 'unpacking'} ...", file=self.out, flush=True)
        elif event.kind == "note":
            print(f"  {event.message}", file=self.out, flush=True)

    def _line(self, event: Event, now: float) -> str:
        speed = (event.done - self._began[1]) / max(now - self._began[0], 1e-6)
        line = f"{size(event.done)} of {size(event.total)}, {size(int(speed))}/s"
        if event.total and speed > 0:
            line += f", {(event.total - event.done) / speed / 60:.0f} min left"
        return line
