"""Measuring sets of real or drawn faces by a written protocol (`docs/evaluation.md`).

    from arc2face import Engine
    from arc2face.evaluation import Protocol, evaluate, read_set

    with Engine.open() as engine:
        report = evaluate(read_set("folder", "photos/"), engine.perception, Protocol(), out="runs/photos")

Readers of folders give a `FaceSet`; every picture is looked at once (`looking`, kept in a state folder, so that a run
goes on where it stopped); figures are pure functions of arrays (`pairs`, `curves`, `distances`, ...). Networks other
than the bundle's are optional: without one its figure is absent, with the reason, never zero.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arc2face.evaluation.comparison import compare
    from arc2face.evaluation.judge import Judge
    from arc2face.evaluation.layouts import read_set
    from arc2face.evaluation.protocol import Protocol
    from arc2face.evaluation.run import Report, evaluate
    from arc2face.evaluation.samples import FaceSet, Sample

_HOME_OF = {
    "compare": "comparison",
    "Judge": "judge",
    "read_set": "layouts",
    "Protocol": "protocol",
    "Report": "run",
    "evaluate": "run",
    "FaceSet": "samples",
    "Sample": "samples",
}
__all__ = ["FaceSet", "Judge", "Protocol", "Report", "Sample", "compare", "evaluate", "read_set"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'arc2face.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"arc2face.evaluation.{_HOME_OF[name]}"), name)
