"""What ZeroGPU charges, who is asked to save, and its refusals in our words; `spaces` itself: test_zerogpu.py."""

from __future__ import annotations

import base64
import json
import queue
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from arc2face.errors import Arc2FaceError, DeviceError, InputError
from arc2face.types import EMBEDDING_SIZE, GenerationRequest, IdentityEmbedding, PoseCondition
from arc2face_app import ui
from arc2face_app.page.language import say
from arc2face_app.runs import quota
from arc2face_app.runs.booked import Failure, StopBytes

PERSON = IdentityEmbedding(np.ones(EMBEDDING_SIZE, np.float32))


def asked(**settings: Any) -> GenerationRequest:
    return GenerationRequest(identity=PERSON, **settings)


def seconds(*requests: GenerationRequest) -> int:
    return quota.seconds_needed(requests)


def token(**payload: Any) -> str:
    text = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"e30.{text}.c2ln"


def test_the_booking_grows_with_everything_that_costs() -> None:
    usual = seconds(asked(num_images=4))
    fast = seconds(asked(num_images=4, fast=True))
    posed = asked(num_images=4, pose=PoseCondition(np.zeros((512, 512, 3), np.uint8)))
    assert 8 < fast < seconds(asked(num_images=4, guidance_scale=1.0)) < usual < seconds(posed)
    assert usual < seconds(asked(num_images=4, steps=50)) < seconds(asked(num_images=8, steps=50))
    assert seconds(asked(num_images=4, height=256, width=256)) < usual
    assert seconds(asked(num_images=4, height=1024, width=1024)) > 3 * usual
    assert usual <= 20  # an anonymous visitor has 120 a day


def test_a_series_is_booked_in_parts_that_a_share_has_room_for() -> None:
    series = [asked(num_images=1, seed=seed) for seed in range(60)]
    parts = quota.booked_together(series)
    assert [request.seed for part in parts for request in part] == list(range(60))
    assert 1 < len(parts) < 6
    assert all(quota.seconds_needed(part) <= quota.MOST_SECONDS for part in parts)
    long = asked(num_images=8, steps=100, height=1024, width=1024)
    assert [len(part) for part in quota.booked_together([series[0], long, series[1]])] == [1, 1, 1]


@pytest.mark.parametrize(
    ("header", "anonymous"),
    [
        (token(user="anna", ip="1.2.3.4"), False),
        (token(user=None, ip="1.2.3.4"), True),
        (token(error="expired"), True),
        ("", True),
        ("no token", True),
        ("a.b.c", True),
        ("a.\u00fc.c", True),
        (token().replace("e30.", "") + ".W10.x", True),
    ],
)
def test_fast_mode_is_on_for_who_is_not_signed_in(
    header: str, anonymous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`spaces` reads the visitor from the same header; a damaged one is nobody."""
    assert quota.is_anonymous({"x-ip-token": header}) is anonymous
    request: Any = SimpleNamespace(headers={"x-ip-token": header})
    monkeypatch.setattr(ui.zerogpu, "available", lambda: True)
    assert bool(ui._why_fast("cuda", request)) is anonymous
    monkeypatch.setattr(ui.zerogpu, "available", lambda: False)
    assert ui._why_fast("cuda", request) == ""
    assert ui._why_fast("cpu", request) == ui.FAST_ON_CPU


def refused(title: str, message: str) -> gr.Error:
    return gr.Error(message, title=title)


class ConnectError(Exception):
    """As httpx has one."""


ConnectError.__module__ = "httpx"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            refused(
                "ZeroGPU quota exceeded",
                "You have exceeded your free ZeroGPU quota (23s requested vs. 7s left). Try again in 3:20:10. More",
            ),
            f"{quota.QUOTA} This run asks for 23 s, and 7 s are left. Try again in 3:20:10.",
        ),
        (refused("ZeroGPU quota exceeded", "Space app has reached its GPU limit. Try re-running"), quota.QUOTA),
        (refused("ZeroGPU quota exceeded", "No GPU was available after 60s. Try re-running"), quota.NO_GPU),
        (refused("ZeroGPU queue timeout", "No GPU was available after 60s <a href=x>Sign up</a>"), quota.NO_GPU),
        (refused("ZeroGPU illegal duration", "The requested GPU duration (90s) is larger"), quota.TOO_LONG),
        (refused("ZeroGPU pending credits exceeded", "You have too many"), quota.PENDING),
        (refused("ZeroGPU client error", "Expired ZeroGPU proxy token"), quota.EXPIRED),
        (refused("ZeroGPU client error", "No GPU was available"), quota.NO_GPU),
        (refused("ZeroGPU client error", "Internal Gradio error"), quota.NO_SERVICE),
        (refused("ZeroGPU worker error", "GPU task aborted"), quota.ABORTED),
        (refused("ZeroGPU worker error", "AcceleratorError"), quota.UNUSABLE),
        (refused("ZeroGPU something new", "Words"), quota.NO_SERVICE),
        (queue.Empty(), quota.ABORTED),
        (ConnectError("[Errno 111]"), quota.NO_SERVICE),
        (RuntimeError("ZeroGPU API /schedule error: 500 (Internal Server Error)"), quota.NO_SERVICE),
    ],
)
def test_refusals_are_in_our_words_and_in_every_language(error: BaseException, sentence: str) -> None:
    told = quota.in_words(error)
    assert isinstance(told, DeviceError) and str(told) == sentence and told.__cause__ is error
    for language in ("de", "es"):
        said = say(sentence, language)
        assert said != sentence and "Try again" not in said and "GPU time" not in said


def test_other_errors_stay_as_they_are() -> None:
    ours, defect = InputError("No face."), KeyError("x")
    assert quota.in_words(ours) is ours and quota.in_words(defect) is defect
    assert quota.in_words(refused("That did not work", "No face.")).__class__ is gr.Error

    class HereError(Exception):
        """A class that the other side cannot import."""

    assert isinstance(Failure.of(InputError("No face.")).error, InputError)
    travelled = Failure.of(HereError("Words.")).error
    assert type(travelled) is Arc2FaceError and str(travelled) == "Words."


def test_a_stop_is_one_bookings_own() -> None:
    stops = StopBytes()
    first, second = stops.take(), stops.take()
    stops.ask(first)
    assert stops.asked(first) and not stops.asked(second)
    stops.give_back(first)
    taken = [stops.take() for _ in range(4095)]
    assert first in taken and not stops.asked(first)
