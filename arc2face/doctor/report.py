"""What the doctor found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Check", "Report", "Status"]

Status = Literal["ok", "note", "warning", "error"]
"""ok: as it should be. note: good to know. warning: something will not work or not well. error: nothing works."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy`: what to do, empty when nothing is to be done. `data`: the same facts for programs."""

    group: Literal["software", "machine", "models"]
    name: str
    status: Status
    detail: str
    remedy: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """True when nothing is an error: pictures can be made."""
        return not any(check.status == "error" for check in self.checks)

    def count(self, status: Status) -> int:
        """How many findings have this status."""
        return sum(check.status == status for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}
