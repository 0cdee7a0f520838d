"""What a forked child must make anew: threads do not exist there, and a lock may be held by one of them for ever.

Objects with threads or locks call `remake_in_child(self)` once; their `after_fork` runs in every forked child, before
any other code of it. Things with threads inside them (onnxruntime's sessions, MediaPipe) must not be used in the
child, and not freed either, because their destructors wait for those threads: hand them to `abandon`.
"""

from __future__ import annotations

import itertools
import os
import weakref
from typing import Protocol

__all__ = ["Remakable", "abandon", "remake_in_child"]


class Remakable(Protocol):
    """Something with threads or locks."""

    def after_fork(self) -> None:
        """Called in a forked child: replace locks and threads, forget what belongs to the parent."""
        ...


_watched: weakref.WeakValueDictionary[int, Remakable] = weakref.WeakValueDictionary()
_numbers = itertools.count()
_abandoned: list[object] = []


def remake_in_child(thing: Remakable) -> None:
    """Call `thing.after_fork()` in every forked child for as long as `thing` lives."""
    _watched[next(_numbers)] = thing


def abandon(*things: object) -> None:
    """Keep things of the parent alive in this child, unused."""
    _abandoned.extend(things)


def _in_child() -> None:
    for thing in _watched.values():  # in the order in which they were made
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
