"""Progress in words, the same on the page and in the endpoints."""

from __future__ import annotations

from arc2face.types import Progress

STAGES = {
    "queued": "Waiting for a free slot",
    "loading": "Loading the models",
    "encoding": "Reading the face",
    "denoising": "Drawing",
    "decoding": "Finishing the pictures",
    "scoring": "Comparing with your photo",
    "done": "Done",
}


def progress_words(event: Progress) -> str:
    """The sentence of a progress event, in plain text."""
    if event.stage == "queued" and event.queue_position > 0:
        # The first in line may start at once, or wait for the one that runs; both are "next".
        place = event.queue_position
        return "Waiting: yours is next" if place == 1 else f"Waiting: place {place} in the line"
    usual = STAGES.get(event.stage, event.stage.capitalize())
    if event.stage != "denoising" or not event.total:
        return event.message or usual
    words = usual if event.message.startswith("Step ") else event.message or usual
    return f"{words}: step {event.step} of {event.total}"
