"""The health command of the container, against the running app and against what is no healthy server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from arc2face_app import health
from tests.app.conftest import Studio, free_port

pytestmark = pytest.mark.server


class Broken(BaseHTTPRequestHandler):
    """A server that is there and cannot answer."""

    def do_HEAD(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def broken() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()


def test_it_tells_a_running_page_from_none(
    studio: Studio, broken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Host and port come from the variables that the server reads; `0.0.0.0` is asked on this machine."""
    asked = {
        studio.url.rpartition(":")[2]: (0, "the page answers"),
        str(broken): (1, "answers with status 503"),
        str(free_port()): (1, "does not answer"),
        "http": (1, "ARC2FACE_PORT must be a number"),
    }
    for host in ("0.0.0.0", "127.0.0.1"):
        monkeypatch.setenv("ARC2FACE_HOST", host)
        for port, (code, words) in asked.items():
            monkeypatch.setenv("ARC2FACE_PORT", port)
            assert health.main() == code
            assert words in capsys.readouterr().out
    assert health.problem("::", free_port()).startswith("http://[::1]:")
