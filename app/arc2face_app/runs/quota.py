"""What ZeroGPU charges its visitors, and what it says when it refuses, in our words."""

from __future__ import annotations

import base64
import json
import queue
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arc2face.errors import Arc2FaceError, DeviceError
from arc2face.types import GenerationRequest

START_SECONDS = 8.0
"""From the booking to the first step: CUDA starts, and up to 5 GB of weights come from the disk."""
STEP_SECONDS, PICTURE_SECONDS = 0.03, 0.4
"""Per picture of 512 x 512: a step without guidance, and decoding. Three times what a data-centre card takes."""
MOST_SECONDS = 60
"""A series is booked in parts of at most so long: what is asked for has to be left of the visitor's share."""
USUAL_SIDE = 512

QUOTA = (
    "Your share of this Space's GPU time is used up. Fast mode and fewer pictures take less of it; people who sign in "
    "to Hugging Face have more."
)
LEFT = "This run asks for {n} s, and {m} s are left."
AGAIN = "Try again in {when}."
TOO_LONG = "This run is longer than Hugging Face allows at once. Use fast mode, fewer steps or fewer pictures."
PENDING = "Too many of your runs are under way on ZeroGPU. Try again once one of them has finished."
NO_GPU = "No GPU was free for a minute. Try again, or somewhat later."
EXPIRED = "This page has been open for too long. Load it again."
ABORTED = (
    "The GPU was taken away before the pictures were finished. Try again; with fast mode or fewer pictures it is "
    "needed for less time."
)
UNUSABLE = "The GPU could not be used. Try again; if it happens again, tell the owner of this Space."
NO_SERVICE = "ZeroGPU, which lends the GPUs of this Space, does not answer. Try again in a minute."
_TITLES = {
    "ZeroGPU illegal duration": TOO_LONG,
    "ZeroGPU pending credits exceeded": PENDING,
    "ZeroGPU queue timeout": NO_GPU,
}


def seconds_needed(requests: Sequence[GenerationRequest], stop: int = 0) -> int:
    """How long to book. The platform makes it longer for its slower cards (`duration_factor` in `spaces`).

    What was booked and not used is not charged, but it has to be left of the visitor's share, and short bookings wait
    less. `stop` is not looked at.
    """
    return int(START_SECONDS + sum(map(_seconds, requests)) + 1)


def booked_together(requests: Iterable[GenerationRequest]) -> list[list[GenerationRequest]]:
    """The requests in their order, in parts of at most MOST_SECONDS; a single longer one is a part of its own."""
    parts: list[list[GenerationRequest]] = []
    for request in requests:
        if parts and seconds_needed([*parts[-1], request]) <= MOST_SECONDS:
            parts[-1].append(request)
        else:
            parts.append([request])
    return parts


def _seconds(request: GenerationRequest) -> float:
    guided = request.guided_steps if request.guidance > 1.0 else 0
    share = 1.0 + 0.4 * (request.pose is not None) + 0.4 * (request.reference is not None)
    side = (request.height or USUAL_SIDE) * (request.width or USUAL_SIDE) / USUAL_SIDE**2
    steps = (request.denoising_steps + guided) * STEP_SECONDS * share
    # Attention grows faster than the picture.
    return request.num_images * (steps * max(side, side**1.5) + PICTURE_SECONDS * side)


def is_anonymous(headers: Mapping[str, str]) -> bool:
    """Whether a visitor is not signed in to Hugging Face: its token, which says whose share is used, names no user.

    Nothing hangs on this but a default, so the signature is not looked at.
    """
    try:
        payload = headers.get("x-ip-token", "").split(".")[1]
        said: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return not said.get("user")
    except (ValueError, IndexError, AttributeError):
        return True


def in_words(error: BaseException) -> BaseException:
    """What `spaces` raised, as an error with a sentence of ours. An error that is not about ZeroGPU stays as it is."""
    if isinstance(error, Arc2FaceError):
        return error
    title, said = str(getattr(error, "title", "")), str(getattr(error, "message", error))
    sentence = ABORTED if isinstance(error, queue.Empty) else _sentence(title, said)
    if not sentence and ("ZeroGPU" in said or type(error).__module__.split(".")[0] in ("httpx", "httpcore")):
        sentence = NO_SERVICE
    if not sentence:
        return error
    told = DeviceError(sentence)
    told.__cause__ = error
    return told


def _sentence(title: str, said: str) -> str:
    """By the titles of `spaces`; empty for others."""
    if "No GPU was available" in said:  # titled "quota exceeded" for visitors without a token
        return NO_GPU
    if title == "ZeroGPU worker error":
        return ABORTED if "aborted" in said else UNUSABLE
    if title == "ZeroGPU quota exceeded":
        return " ".join([QUOTA, *_numbers(said)])
    if title == "ZeroGPU client error":
        return EXPIRED if "Expired" in said else NO_SERVICE
    return _TITLES.get(title, NO_SERVICE if title.startswith("ZeroGPU") else "")


def _numbers(said: str) -> list[str]:
    left = re.search(r"(\d+)s requested vs\. (-?\d+)s left", said)
    again = re.search(r"Try again in ((?:\d+ days?, )?\d+:\d\d:\d\d)", said)
    told = [LEFT.format(n=left[1], m=max(0, int(left[2])))] if left else []
    return [*told, AGAIN.format(when=again[1])] if again else told
