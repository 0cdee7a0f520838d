"""Progress that counts what comes after the last step, too: decoding and comparing take time, and have no steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from arc2face.types import Progress

if TYPE_CHECKING:
    from arc2face_app.runs.runner import Results

AFTER = ("decoding", "scoring")


class Pace:
    """Seconds per picture from its last step to the result, as this server measured them last; 0 until it has."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.after = 0.0


def steadied(
    events: Iterator[Progress | Results], pace: Pace, pictures: Callable[[], int]
) -> Iterator[Progress | Results]:
    """The same events; the last preview stays until the pictures come, and the time left covers all of the run.

    `pictures`: how many the run makes; asked once it is under way.
    """
    preview, ended = None, None
    for event in events:
        if not isinstance(event, Progress):
            if ended is not None and pictures() > 0:
                pace.after = (pace.clock() - ended) / pictures()
            yield event
            continue
        preview = event.preview if event.preview is not None else preview
        left = event.seconds_left
        if event.stage == "denoising" and event.total and left is not None:
            share = 1.0 if event.message.startswith("Step ") else 1.0 - (event.step - 1) / event.total
            left += pace.after * pictures() * share
            ended = pace.clock() if event.step == event.total else None
        elif event.stage in AFTER and ended is not None and pace.after:
            left = max(0.0, pace.after * pictures() - (pace.clock() - ended))
        yield replace(event, preview=preview, seconds_left=left)
