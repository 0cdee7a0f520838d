"""Data sets of people who do not exist: planned, drawn in shards, verified, reported, exported.

from arc2face.dataset import DatasetPlan, Identities, Schedule, make_folder, run

A plan is a frozen value with a hash; a shard is a pure function of the plan, its number and the models. Whoever runs
it gets the same pictures, so a set may be drawn by one process, an array of jobs or a cluster. See docs/dataset.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arc2face.dataset.folder import DatasetFolder
    from arc2face.dataset.identities import Identities
    from arc2face.dataset.plan import DatasetPlan, Drawing, References
    from arc2face.dataset.planning import make_folder, open_set
    from arc2face.dataset.running import EngineChoice, run
    from arc2face.dataset.schedule import CatalogueEntry, Pose, Schedule
    from arc2face.dataset.shards import run_shard

_HOMES = {
    "folder": ("DatasetFolder",),
    "identities": ("Identities",),
    "plan": ("DatasetPlan", "Drawing", "References"),
    "planning": ("make_folder", "open_set"),
    "running": ("EngineChoice", "run"),
    "schedule": ("CatalogueEntry", "Pose", "Schedule"),
    "shards": ("run_shard",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CatalogueEntry",
    "DatasetFolder",
    "DatasetPlan",
    "Drawing",
    "EngineChoice",
    "Identities",
    "Pose",
    "References",
    "Schedule",
    "make_folder",
    "open_set",
    "run",
    "run_shard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'arc2face.dataset' has no attribute {name!r}")
    return getattr(import_module(f"arc2face.dataset.{_HOME_OF[name]}"), name)
