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
        others = "1 request" if event.queue_position == 1 else f"{event.queue_position} requests"
        return f"Waiting: {others} before yours"
    words = event.message or STAGES.get(event.stage, event.stage.capitalize())
    return f"{words}: step {event.step} of {event.total}" if event.stage == "denoising" and event.total else words
