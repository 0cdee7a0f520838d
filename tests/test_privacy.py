"""Nothing leaves this machine, and nothing stays where it does not belong. Run alone: ./run test tests/test_privacy.py

The promise is `docs/privacy.md`; the nets are in `tests/watched.py`. Visitors' files when a page closes: here with the
real server and its real grace, in `tests/app/test_guard.py` for several visitors at once.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.app import bundle
from tests.conftest import PROJECT
from tests.watched import Watch, free_port, python, tree, why_no_strace

CLI = [sys.executable, "-c", "import sys; from arc2face_app.cli import main; sys.exit(main())"]
CACHES = ("home/.cache/arc2face/*", "home/.cache/emoca/*")
EMPTY = "tmp/torchinductor_*"
"""The folder of torch's compiler, which torch makes and we never fill."""
JSON = {"Content-Type": "application/json"}
ELSEWHERE = "192.0.2.1"
"""An address that belongs to nobody (RFC 5737)."""

LIBRARY = """
import sys
from pathlib import Path
from arc2face import Engine, GenerationRequest, PoseCondition, save_identity, save_png

models, photo = sys.argv[1:]
with Engine.open(models, device="cpu") as engine:
    person = engine.identify(photo).identity
    save_identity(Path("anna.npz"), person)
    reading = engine.read_expression(photo)
    result = engine.generate(GenerationRequest(identity=person, num_images=1, steps=2, seed=7))
    save_png(result.images[0], result, "anna.png")
"""


@pytest.fixture(scope="module")
def models(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.make_bundle(tiny_tree, tmp_path_factory.mktemp("privacy") / "tree")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.person_photo(tmp_path_factory.mktemp("photos") / "anna-at-home.png")


def strangers(watch: Watch, *allowed: str) -> list[str]:
    """Files that no page of the documentation explains."""
    found = [name for name in watch.appeared() if not any(fnmatch(name, one) for one in (*CACHES, *allowed))]
    return [name for name in found if not fnmatch(name, EMPTY) or name.count("/") > 1]


def until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether the condition came true; the limit only ends a test that has failed."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def test_the_nets_catch_what_they_are_for(tmp_path: Path) -> None:
    """A request by a library, a bare connection, a look-up and a stray file are all seen."""
    script = (
        "import socket, urllib.request, pathlib\n"
        "def attempt(call, *arguments):\n"
        "    try:\n        call(*arguments)\n    except OSError:\n        pass\n"
        "attempt(urllib.request.urlopen, 'http://telemetry.example/ping')\n"
        f"attempt(socket.create_connection, ('{ELSEWHERE}', 9), 0.1)\n"
        "attempt(socket.getaddrinfo, 'telemetry.invalid', 443)\n"
        "attempt(socket.create_connection, ('127.0.0.1', 9), 0.1)\n"
        "(pathlib.Path.home() / '.telemetry').touch()\n"
    )
    with Watch(tmp_path) as watch:
        watch.run(python(script))
        contacts = watch.contacts()
        assert any("proxy: GET http://telemetry.example/ping" in line for line in contacts)
        assert f"socket.connect {ELSEWHERE}" in contacts
        assert "socket.getaddrinfo telemetry.invalid" in contacts
        assert not [line for line in contacts if "127.0.0.1" in line]
        assert watch.appeared() == ["home/.telemetry"]


@pytest.mark.skipif(bool(why_no_strace()), reason=why_no_strace() or "it works")
def test_native_code_is_seen_too(tmp_path: Path) -> None:
    """What no audit hook hears of: connections by the C library itself, also to a name server on loopback."""
    script = (
        "import ctypes, socket, struct\n"
        "libc = ctypes.CDLL(None)\n"
        f"for host, port in (('{ELSEWHERE}', 9), ('127.0.0.1', 9), ('127.0.0.53', 53)):\n"
        "    address = struct.pack('=HH4s8x', socket.AF_INET, socket.htons(port), socket.inet_aton(host))\n"
        "    libc.connect(libc.socket(socket.AF_INET, socket.SOCK_DGRAM, 0), address, len(address))\n"
    )
    with Watch(tmp_path) as watch:
        watch.run(python(script))
        assert watch.python_contacts() == []
        assert watch.native_contacts() == [f"connect {ELSEWHERE}", "connect 127.0.0.53"]


def test_a_library_script_speaks_to_nobody(tmp_path: Path, models: Path, photo: Path) -> None:
    before = tree(models)
    with Watch(tmp_path) as watch:
        watch.run(python(LIBRARY, models, photo))
        assert watch.contacts() == []
        assert strangers(watch, "work/anna.png", "work/anna.npz") == []
        assert (watch.work / "anna.png").is_file()
    assert tree(models) == before


@pytest.mark.slow
def test_the_command_line_speaks_to_nobody(tmp_path: Path, models: Path, photo: Path) -> None:
    """With the folders of the XDG variables in other places than HOME's."""
    before = tree(models)
    quick = ["--models", models, "-n", 1, "--seed", 7, "--steps", 2, "--json"]
    with Watch(tmp_path, xdg=True) as watch:
        made = [
            json.loads(watch.run([*CLI, "generate", photo, *quick, "--save-identity", "anna.npz"])),
            json.loads(watch.run([*CLI, "pose", photo, *quick, "--yaw", 20, "-o", "turned"])),
            json.loads(watch.run([*CLI, "expression", photo, *quick, "--preset", "Mouth open", "-o", "spoken"])),
        ]
        watch.run([*CLI, "embed", photo, "--models", models, "-o", "again.npz", "--json"])
        assert json.loads(watch.run([*CLI, "doctor", "--models", models, "--json"], codes=(0, 1)))
        pictures = sorted((watch.work / "outputs").glob("*.png"))
        assert pictures and all(made)
        assert json.loads(watch.run([*CLI, "recipe", pictures[0]]))["settings"]["seed"] == 7
        assert watch.contacts() == []
        results = ("work/outputs/*", "work/turned/*", "work/spoken/*", "work/anna.npz", "work/again.npz")
        assert strangers(watch, "xdg-cache/arc2face/*", "xdg-cache/emoca/*", *results) == []
        assert not [name for name in watch.appeared() if name.startswith("home/")]
    assert tree(models) == before


@pytest.mark.server
@pytest.mark.slow
def test_the_page_speaks_to_nobody_and_keeps_nothing(
    tmp_path: Path, models: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A5: a visitor uses all tabs and leaves; ten seconds later nothing of it is there, and nobody heard of it."""
    before, port = tree(models), free_port()
    got = tmp_path_factory.mktemp("visitor")
    with Watch(tmp_path) as watch:
        server = watch.start(
            [sys.executable, "-m", "arc2face_app", "--port", port, "--models", models, "--device", "cpu"]
        )
        url = f"http://127.0.0.1:{port}"
        assert until(lambda: server.poll() is not None or answers(url)), "the page did not start"
        assert server.poll() is None, watch.printed(server)
        own = uploads(watch)
        visit(url, photo, got)
        assert strangers(watch, "tmp/arc2face-app-*/*") == []
        assert len(uploads(watch) - own) >= 4, "a photo and the results lie there while the page is open"
        assert until(lambda: not uploads(watch) - own, 60), uploads(watch) - own
        assert server.poll() is None
        server_process(server).send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert watch.contacts() == []
        assert strangers(watch) == []
    assert tree(models) == before


def test_the_documentation_names_what_is_kept() -> None:
    text = (PROJECT / "docs" / "privacy.md").read_text(encoding="utf-8")
    for name in ("~/.cache/arc2face", "~/.cache/emoca", "arc2face-app-", "./outputs"):
        assert f"`{name}" in text


def answers(url: str) -> bool:
    """Whether the page is up and its models are open."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    question = urllib.request.Request(f"{url}/gradio_api/run/status", b'{"data": []}', JSON)
    try:
        with direct.open(question, timeout=10) as answer:
            return bool(json.load(answer)["data"][0]["ready"])
    except (OSError, ValueError, LookupError):
        return False


def uploads(watch: Watch) -> set[str]:
    """What lies in the server's folder for uploads and results. The page's own example pictures are there, too."""
    return {name for name in watch.appeared() if fnmatch(name, "tmp/arc2face-app-*/uploads/*?.?*")}


def server_process(process: Any) -> Any:
    """The program itself, where strace stands in between."""
    import psutil

    children = psutil.Process(process.pid).children()
    return children[0] if children and not why_no_strace() else process


def visit(url: str, photo: Path, got: Path) -> None:
    """One visitor uploads a photo, uses every tab, restores a recipe, and closes the page."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, download_files=str(got))
    quick: dict[str, Any] = {"num_images": 1, "steps": 2, "seed": 7}
    anna = [handle_file(str(photo))]
    (picture,), _ = client.predict(anna, **quick, api_name="/generate_identity")
    client.predict(anna, yaw=20, **quick, api_name="/generate_pose")
    assert len(client.predict(handle_file(str(photo)), api_name="/read_expression")["components"]) == 50
    spoken: dict[str, Any] = {"expression": {"jaw": {"open": 0.3}}, "keep_look": 0.8}
    client.predict(anna, **spoken, **quick, api_name="/generate_expression")
    assert client.predict(anna, api_name="/identify")[1]["photos"] == 1
    assert "Settings restored" in dropped(client, url, Path(picture))
    client.close()


def dropped(client: Any, url: str, picture: Path) -> str:
    """Drop a picture with a recipe into the page's zone for it; returns the server's messages as they came."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{picture.name}"\r\n\r\n'.encode()
    body = head + picture.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    (path,) = json.load(direct.open(urllib.request.Request(f"{url}/gradio_api/upload", body, kind)))
    config = json.load(direct.open(f"{url}/config"))
    zones = {each["id"] for each in config["components"] if each["props"].get("label") == "A picture made here"}
    uploads = [[zone, "upload"] for zone in zones]
    number = next(each["id"] for each in config["dependencies"] if any(one in uploads for one in each["targets"]))
    session = client.session_hash
    file = {"path": path, "orig_name": picture.name, "meta": {"_type": "gradio.FileData"}}
    join = json.dumps({"data": [file], "fn_index": number, "session_hash": session}).encode()
    direct.open(urllib.request.Request(f"{url}/gradio_api/queue/join", join, JSON)).read()
    with direct.open(f"{url}/gradio_api/queue/data?session_hash={session}", timeout=60) as stream:
        said = ""
        for line in stream:
            said += line.decode()
            if re.search(r'"msg": ?"(process_completed|close_stream)"', said):
                break
    return said
