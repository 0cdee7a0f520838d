"""Numbers that a plan draws: from its seed, a person's key and a picture's number, never from a place in the list.

All of them come from SHA-256 over those words, so they are the same on every machine and with every library version.
"""

from __future__ import annotations

import hashlib
import json

from arc2face.settings import MAX_SEED

__all__ = ["order", "picture_seed", "share"]

_SPAN = 1 << 64


def picture_seed(plan_seed: int, identity: str, picture: int, attempt: int = 0) -> int:
    """Seed of one picture, 0 to MAX_SEED. `attempt`: 0 the first, 1 the first redraw, and so on."""
    return _whole(plan_seed, identity, picture, "seed", attempt) * (MAX_SEED + 1) // _SPAN


def share(plan_seed: int, identity: str, picture: int, what: str) -> float:
    """A number in [0, 1) for one choice (`what`) of one picture."""
    return (_whole(plan_seed, identity, picture, what) >> 11) / (1 << 53)


def order(plan_seed: int, identity: str, what: str, count: int, turn: int = 0) -> list[int]:
    """The numbers 0 to count - 1 in an order of the person's own; `turn` gives further orders."""
    return sorted(range(count), key=lambda place: _whole(plan_seed, identity, place, what, turn))


def _whole(plan_seed: int, identity: str, number: int, what: str, more: int = 0) -> int:
    words = json.dumps([plan_seed, identity, number, what, more], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
