"""What strangers on the network get: attacks on the real server. Run alone: ./run test tests/app/test_guard.py"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from arc2face.engine import Engine
from arc2face_app import server
from arc2face_app.runs import requests, visitors
from arc2face_app.runs.backend import Backend
from arc2face_app.settings import ServerSettings
from tests.app.conftest import free_port

pytestmark = pytest.mark.server
JSON = {"Content-Type": "application/json"}
HOST = "127.0.0.1"


@contextmanager
def running(models: Path, **settings: Any) -> Iterator[tuple[int, Any]]:
    """A server of its own; yields port and page."""
    backend = Backend.of(Engine.open(models, device="cpu"))
    chosen = ServerSettings(port=free_port(), **{"mcp": False, **settings})
    page = server.launch(chosen, backend)
    try:
        yield chosen.port, page
    finally:
        page.close(verbose=False)
        backend.close()


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], str]:
    """One request with exactly these headers; `_` in a name stands for `-`."""
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    link = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        link.request(method, path, data, {**(JSON if data is not None else {}), **names})
        answer = link.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode("utf-8", "replace")
    finally:
        link.close()


def port_of(studio: Any) -> int:
    return int(studio.url.rpartition(":")[2])


def number(page: Any, name: str) -> int:
    return next(key for key, fn in page.fns.items() if fn.api_name == name)


def until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether the condition came true; the limit only ends a test that has failed."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("name", ["evil.example", "evil.example:7860", "localhost.evil.example", "192.168.0.7", ""])
def test_a_server_on_loopback_answers_to_no_other_name(studio: Any, name: str) -> None:
    """K19: a site whose name was made to point to 127.0.0.1 reads nothing."""
    for path in ("/", "/config", "/gradio_api/info"):
        status, _, text = ask(port_of(studio), "GET", path, Host=name)
        assert status == 403, path
        assert "--hosts" in text


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:7860"])
def test_its_own_names_are_answered(studio: Any, name: str) -> None:
    """K19."""
    assert ask(port_of(studio), "GET", "/config", Host=name)[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"]
)
def test_other_sites_are_refused_and_may_not_read(studio: Any, origin: str) -> None:
    """K19: no reflected CORS, with or without credentials, for questions, answers and uploads."""
    port = port_of(studio)
    asked = {"Access_Control_Request_Method": "POST"}
    requests_ = [
        ("GET", "/config", None, {}),
        ("OPTIONS", "/gradio_api/queue/join", None, asked),
        ("POST", "/gradio_api/run/status", {"data": []}, {}),
        ("POST", "/gradio_api/upload", b"x", {}),
    ]
    for method, path, body, more in requests_:
        status, headers, _ = ask(port, method, path, body, Origin=origin, **more)
        assert status == 403, (method, path)
        assert not [name for name in headers if name.startswith("access-control-allow")]
    assert ask(port, "GET", "/config", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert ask(port, "GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200


def test_its_own_page_may_ask(studio: Any) -> None:
    """K19: same origin, also through a proxy that says so."""
    port = port_of(studio)
    status, headers, _ = ask(port, "GET", "/config", Origin=f"http://localhost:{port}")
    assert status == 200
    assert not [name for name in headers if name.startswith("access-control-allow")]
    forwarded = {"Origin": "https://faces.example", "X_Forwarded_Host": "faces.example"}
    assert ask(port, "POST", "/gradio_api/run/status", {"data": []}, **forwarded)[0] == 200


def test_names_can_be_added(models: Path) -> None:
    """K19: what a reverse proxy is called."""
    with running(models, hosts=("faces.example",)) as (port, _):
        assert ask(port, "GET", "/config", Host="faces.example", Origin="https://faces.example")[0] == 200
        assert ask(port, "GET", "/config", Host="evil.example")[0] == 403


def test_whether_the_page_is_there_is_answered_without_drawing_it(studio: Any) -> None:
    """On a busy machine Gradio's own question at the start took too long, and the server gave up."""
    assert ask(port_of(studio), "HEAD", "/")[0] == 200
    assert ask(port_of(studio), "HEAD", "/", Host="evil.example")[0] == 403


def test_a_direct_post_does_not_pass_the_queue(studio: Any) -> None:
    """K14: queue, limits and validators cannot be skipped; what needs no queue still answers."""
    for name in ("identify", "generate_identity", "normal_map"):
        for route in ("run", "api"):
            status, _, text = ask(port_of(studio), "POST", f"/gradio_api/{route}/{name}", {"data": [None] * 11})
            assert status == 404 and "queue" in text, (route, name)
    assert ask(port_of(studio), "POST", "/gradio_api/run/status", {"data": []})[0] == 200


def test_a_login_covers_every_route(models: Path) -> None:
    """K13: MCP, files, uploads and streams need it as well; programs may send it with each request."""
    with running(models, auth=("anna", "se:cret"), mcp=True) as (port, _):
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        mcp = {"Accept": "application/json, text/event-stream"}
        closed = [
            ("POST", "/gradio_api/mcp/", call), ("GET", "/config", None), ("GET", "/gradio_api/info", None),
            ("POST", "/gradio_api/run/status", {"data": []}), ("POST", "/gradio_api/cancel", {}),
            ("GET", "/gradio_api/heartbeat/abc", None), ("GET", "/gradio_api/file=/etc/passwd", None),
            ("POST", "/gradio_api/upload", b""), ("GET", "/gradio_api/queue/data?session_hash=abc", None),
            ("POST", "/gradio_api/component_server", {}), ("GET", "/gradio_api/mcp/schema", None),
            ("GET", "/monitoring/x", None), ("GET", "/openapi.json", None),
        ]  # fmt: skip
        for method, path, body in closed:
            assert ask(port, method, path, body, **mcp)[0] == 401, path
        assert ask(port, "GET", "/")[0] == 200
        right = {"Authorization": "Basic " + base64.b64encode(b"anna:se:cret").decode()}
        assert ask(port, "POST", "/gradio_api/run/status", {"data": []}, **right)[0] == 200
        status, _, text = ask(port, "POST", "/gradio_api/mcp/", call, **mcp, **right)
        assert status == 200 and "status" in text
        drawn = {"name": "normal_map", "arguments": {"yaw": 10, "pitch": 0, "roll": 0}}
        status, _, text = ask(port, "POST", "/gradio_api/mcp/", {**call, "method": "tools/call", "params": drawn},
                              **mcp, **right)  # fmt: skip
        assert status == 200 and '"isError":false' in text and "Not authenticated" not in text, text
        wrong = {"Authorization": "Basic " + base64.b64encode(b"anna:secret").decode()}
        assert ask(port, "POST", "/gradio_api/run/status", {"data": []}, **wrong)[0] == 401


def test_logins_are_slowed_down_and_their_cookie_stays_here(models: Path) -> None:
    """K19: guessing ends after ten wrong tries; the cookie does not travel with other sites' requests."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    with running(models, auth=("anna", "secret")) as (port, _):
        status, headers, _ = ask(port, "POST", "/login", b"username=anna&password=secret", **form)
        assert status == 200
        assert "samesite=none" not in headers["set-cookie"].lower()
        assert "samesite=lax" in headers["set-cookie"].lower()
        cookie = headers["set-cookie"].partition(";")[0]
        assert ask(port, "GET", "/config", Cookie=cookie)[0] == 200
        codes = [ask(port, "POST", "/login", b"username=anna&password=x", **form)[0] for _ in range(requests.TRIES + 2)]
        assert codes == [400] * requests.TRIES + [429] * 2
        assert ask(port, "GET", "/config", Cookie=cookie)[0] == 200


class _Trap(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def trap() -> Iterator[Any]:
    """A web server that notes whether anybody came."""
    caught: Any = HTTPServer((HOST, 0), _Trap)
    caught.asked = []
    thread = threading.Thread(target=caught.serve_forever)
    thread.start()
    yield caught
    caught.shutdown()
    thread.join()
    caught.server_close()


def test_no_address_is_fetched_for_a_visitor(studio: Any, trap: Any) -> None:
    """Neither as a photo, nor through the file route, nor through the proxy route, nor for MCP."""
    port, address = port_of(studio), f"http://{HOST}:{trap.server_address[1]}/photo.png"
    photo = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
    only_url = {"url": address, "meta": {"_type": "gradio.FileData"}}
    for value in (photo, only_url, {"path": "HTTPS://example.com/a.png"}, {"path": " http://example.com/a.png"}):
        for data in ([[value], "mean", False], [[{"image": value, "caption": None}]]):
            join = {"data": data, "fn_index": number(studio.page, "identify"), "session_hash": uuid.uuid4().hex}
            status, _, text = ask(port, "POST", "/gradio_api/queue/join", join)
            assert status == 400 and "not fetched" in text
            assert ask(port, "POST", "/gradio_api/call/identify", {"data": data})[0] == 400
    for path in (f"/gradio_api/file={address}", f"/gradio_api/proxy={address}", f"/gradio_api/file/{address}"):
        assert ask(port, "GET", path)[0] in (403, 404)
    assert trap.asked == []


def test_an_mcp_client_has_nothing_fetched_either(models: Path, trap: Any) -> None:
    with running(models, mcp=True) as (port, _):
        address = f"http://{HOST}:{trap.server_address[1]}/photo.png"
        call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
        call["params"] = {"name": "identify", "arguments": {"photos": [address]}}
        status, _, text = ask(port, "POST", "/gradio_api/mcp/", call, Accept="application/json, text/event-stream")
        answer = json.loads(text)
        assert (status, answer["id"], answer["error"]["code"]) == (200, 7, -32602)
        assert "not fetched" in answer["error"]["message"]
    assert trap.asked == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"data": ["\\ud800"], "fn_index": 0}', 400),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"data": ' + b"[" * 60 + b"]" * 60 + b"}", 400),
        (b'{"data": ["' + b"x" * (requests.MAX_BODY + 1) + b'"]}', 413),
        (b"[1, 2]", 422),
        (b"\xff\xfe", 422),
    ],
    ids=["surrogate", "very deep", "deep", "large", "list", "not text"],
)
def test_hostile_bodies_get_a_plain_refusal(studio: Any, body: bytes, code: int) -> None:
    """K1, K3: no HTTP 500 for text that is none or nesting without end."""
    assert ask(port_of(studio), "POST", "/gradio_api/queue/join", body)[0] == code


def test_nobody_fills_the_queue(studio: Any, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """K16: so many requests per session and per address, and light work has a queue of its own."""
    monkeypatch.setattr(visitors, "PER_SESSION", 3)
    monkeypatch.setattr(visitors, "PER_ADDRESS", 6)
    port, held = port_of(studio), threading.Event()
    studio.backend.engine().worker.submit(lambda: held.wait(60), _Idle())
    fn = number(studio.page, "generate_identity")
    sessions = [uuid.uuid4().hex for _ in range(4)]

    def join(session: str) -> tuple[int, str]:
        file = {"path": photo, "meta": {"_type": "gradio.FileData"}}
        fields = studio.page.fns[fn].inputs
        data = [[file] if field is fields[0] else 1 if field.value == 4 else field.value for field in fields]
        status, _, text = ask(port, "POST", "/gradio_api/queue/join", {"data": data, "fn_index": fn,
                                                                      "session_hash": session})  # fmt: skip
        return status, text

    try:
        photo = _upload(port, "waiting.png", photos["one"].read_bytes())
        first = [join(sessions[0]) for _ in range(4)]
        assert [status for status, _ in first] == [200, 200, 200, 503]
        assert "of your requests" in first[-1][1]
        second = [join(one) for one in sessions[1:] for _ in range(2)]
        assert [status for status, _ in second] == [200, 200, 200, 503, 503, 503]
        assert "your address" in second[-1][1]
        assert ask(port, "POST", "/gradio_api/run/status", {"data": []})[0] == 200
    finally:
        studio.page.app.state.jobs.cancel_all()
        held.set()
        queue = studio.page._queue
        assert until(lambda: not queue.event_ids_to_events)


class _Idle:
    """A job that only holds the device."""

    def report(self, progress: Any) -> None:
        pass

    def finish(self, outcome: Any) -> None:
        pass


def _upload(port: int, name: str, content: bytes) -> str:
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = head + content + f"\r\n--{mark}--\r\n".encode()
    status, _, text = ask(
        port, "POST", "/gradio_api/upload", body, Content_Type=f"multipart/form-data; boundary={mark}"
    )
    assert status == 200, text
    return json.loads(text)[0]


def test_many_new_sessions_end_nobodys_stream(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """K17: a session with work under way keeps its stream, however many come after it."""
    monkeypatch.setattr(visitors, "MAX_STREAMS", 5)
    queue = studio.page._queue
    queue.pending_event_ids_session["busy"] = {"event"}
    queue.event_ids_to_events["event"] = None
    try:
        for name in ("busy", *(f"idle-{each}" for each in range(20))):
            queue.pending_messages_per_session[name] = None
        assert "busy" in queue.pending_messages_per_session
        assert len(queue.pending_messages_per_session) <= 6
    finally:
        del queue.event_ids_to_events["event"], queue.pending_event_ids_session["busy"]
        for name in [name for name in queue.pending_messages_per_session if name == "busy" or name.startswith("idle-")]:
            del queue.pending_messages_per_session[name]


def test_sessions_without_a_page_cost_little(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """K8, K11: values of component are kept for a bounded number of clients, and connected ones are spared."""
    monkeypatch.setattr(visitors, "MAX_STATES", 4)
    holder, port = studio.page.app.state_holder, port_of(studio)
    books = studio.page.app.state.visitors
    mine = uuid.uuid4().hex
    books.opened(mine)
    try:
        for session in (mine, *(uuid.uuid4().hex for _ in range(12))):
            ask(port, "POST", "/gradio_api/run/status", {"data": [], "session_hash": session})
        assert len(holder.session_data) <= 6
        assert mine in holder.session_data
    finally:
        books.closed(mine)
    assert len(books._seen) > 12
    books.tidy(time.monotonic() + visitors.STATE_IDLE + 1)
    assert not holder.session_data.keys() & (books._seen.keys() - books._open.keys()) and len(books._seen) > 12
    books.tidy(time.monotonic() + visitors.IDLE + 1)
    assert mine not in holder.session_data
    assert not set(books._seen) - set(books._open)


def test_what_a_visitor_brought_and_made_goes_with_the_page(
    studio: Any, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A5: uploads, results and values of one session go when it closes; another's stay, also of the same photo."""
    monkeypatch.setattr(visitors, "GRACE", 0.3)  # after the page's own farewell
    uploads = studio.page.app.state.visitors._uploads
    anna, ben = studio.client(), studio.client()
    settings = {"num_images": 1, "steps": 2, "seed": 3, "api_name": "/generate_identity"}
    for client in (anna, ben):
        client.predict([handle_file(str(photos["one"]))], **settings)
    anna.predict([handle_file(str(photos["other"]))], **settings)

    def results(client: Client) -> list[Path]:
        return list((uploads / "results" / client.session_hash).glob("*/*.png"))

    def uploaded(name: str) -> list[Path]:
        return [path for path in uploads.glob(f"*/{name}") if path.parent.name != "results"]

    assert len(results(anna)) == 2 and len(results(ben)) == 1
    assert uploaded("one.png") and uploaded("other.png")
    assert not list(uploads.glob("*/identity-1-seed-3.png")), "results are kept once"
    anna.close()
    assert until(lambda: not results(anna))
    assert until(lambda: not uploaded("other.png"))
    assert uploaded("one.png") and len(results(ben)) == 1
    assert until(lambda: anna.session_hash not in studio.page.app.state_holder.session_data)
    ben.close()
    assert until(lambda: not uploaded("one.png") and not results(ben))


def test_an_example_that_somebody_tapped_stays_for_the_others(studio: Any) -> None:
    """The page's own pictures lie among the uploads, and are nobody's to take along."""
    books = studio.page.app.state.visitors
    own = next(path for path in sorted(books._own) if path.is_file() and path.suffix == ".webp")
    books.claim("somebody", [str(own)])
    books.forget("somebody")
    assert own.is_file()


def test_a_page_that_comes_back_keeps_its_things(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A6: a short loss of the connection is no goodbye."""
    monkeypatch.setattr(visitors, "GRACE", 0.3)
    forgotten: list[str] = []
    books = studio.page.app.state.visitors
    monkeypatch.setattr(books, "_forgets", (forgotten.append,))
    session = uuid.uuid4().hex

    def beat() -> http.client.HTTPConnection:
        link = http.client.HTTPConnection(HOST, port_of(studio), timeout=60)
        link.request("GET", f"/gradio_api/heartbeat/{session}")
        link.getresponse().read(8)
        return link

    first = beat()
    assert books.is_open(session)
    _hang_up(first)
    second = beat()
    time.sleep(0.6)
    assert session not in forgotten
    _hang_up(second)
    assert until(lambda: session in forgotten)


def _hang_up(link: http.client.HTTPConnection) -> None:
    import socket

    assert link.sock is not None
    link.sock.shutdown(socket.SHUT_RDWR)
    link.close()


def test_uploads_have_a_quota(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """K19: so many bytes an hour from one address, and the disk is never filled."""
    port = port_of(studio)
    monkeypatch.setattr(requests, "UPLOAD_BYTES", 0)
    mark = {"Content_Type": "multipart/form-data; boundary=x"}
    assert ask(port, "POST", "/gradio_api/upload", b"x" * 2000, **mark)[0] == 429
    monkeypatch.undo()
    monkeypatch.setattr(requests, "KEEP_FREE", 1 << 62)
    status, _, text = ask(port, "POST", "/gradio_api/upload", b"x" * 2000, **mark)
    assert status == 507 and "disk is full" in text
    monkeypatch.undo()
    assert _upload(port, "small.png", b"x")


def test_no_event_ends_in_silence(studio: Any) -> None:
    """KX: whatever nonsense an unqueued event is sent, the page gets an answer or a reason, never `error: null`."""
    fns = {key: fn for key, fn in studio.page.fns.items() if not fn.queue and fn.api_name != "cancel"}
    refused = 0
    for key, fn in fns.items():
        for value in ("nonsense", {"path": "/etc/passwd"}, -1e300, [[1]], None):
            body = {"data": [value] * len(fn.inputs), "fn_index": key, "session_hash": "silence"}
            status, _, text = ask(port_of(studio), "POST", "/gradio_api/run/predict", body)
            if status != 200:
                refused += 1
                answer = json.loads(text)
                assert answer.get("error") or answer.get("detail"), (fn.name, value, text)
                assert "Traceback" not in text
    assert fns and refused


def test_a_full_disk_is_called_one() -> None:
    """K9."""
    import errno

    from arc2face_app.runs.errors import explain

    assert "disk is full" in explain(OSError(errno.ENOSPC, "No space left on device"))
