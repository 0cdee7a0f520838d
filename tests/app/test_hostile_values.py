"""K1: whatever values a client sends over HTTP, the answer is a result or a message, never an internal error."""

from __future__ import annotations

import http.client
import json
import random
from typing import Any

import pytest

from tests.fuzz import requests
from tests.fuzz.mutate import as_json

pytestmark = pytest.mark.server
ROUNDS = 6
"""Requests per endpoint."""


def ask(studio: Any, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    link = http.client.HTTPConnection(studio.url.removeprefix("http://"), timeout=120)
    try:
        link.request(method, f"/gradio_api/{path}", body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        return answer.status, answer.read().decode("utf-8")
    finally:
        link.close()


def outcome(studio: Any, function: int, values: list[Any], session: str) -> str:
    """ "result", or the message; an answer that is neither fails."""
    body = as_json({"data": values, "fn_index": function, "session_hash": session}, 400)
    status, text = ask(studio, "POST", "queue/join", body)
    assert status < 500, text
    if status != 200:
        return str(json.loads(text))
    status, text = ask(studio, "GET", f"queue/data?session_hash={session}")
    assert status == 200, text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    last = next(each for each in reversed(events) if each["msg"] in ("process_completed", "unexpected_error"))
    if last.get("success"):
        return "result"
    return json.dumps(last.get("output") or last["message"])


def test_hostile_values_over_http(studio: Any) -> None:
    """Requests of strange values to every queued endpoint."""
    outcomes: list[str] = []
    blocks = requests.blocks_of(studio.page)
    for name, block in blocks.items():
        for number in range(ROUNDS):
            rng = random.Random(f"{name} {number}")
            values = json.loads(requests.change(rng, requests.usual(name, block)))["values"]
            values = [None if value == "@identity@" else value for value in values.values()]
            found = outcome(studio, block._id, values, f"{name}{number}")
            assert "went wrong on our side" not in found, (name, values, found)
            assert found == "result" or '"error": null' not in found, (name, values)
            outcomes.append(found)
    assert len(outcomes) == ROUNDS * len(blocks)
    assert 5 < sum(found == "result" for found in outcomes) < len(outcomes) - 20
