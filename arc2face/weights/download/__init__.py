"""Fetching model files: what is missing, from where, resumed, verified, in place in one step.

Needs the standard library only, so that `scripts/download_models.py` runs before anything is installed; only files
of the Hugging Face Hub need its library.

    plan = make_plan(["identity"], models, Options())
    fetch(plan, on_event=...)

`plan` says what is missing and how many bytes that is; `hub` and `http` move bytes; `sources` turns table entries into
addresses; `archives` opens zips; `ledger` remembers hashes; `run` puts it together; `text` talks to a person.
"""

from __future__ import annotations

from arc2face.weights.download.plan import Job, Options, Plan, make_plan, plan_files
from arc2face.weights.download.run import Event, Outcome, fetch

__all__ = ["Event", "Job", "Options", "Outcome", "Plan", "fetch", "make_plan", "plan_files"]
