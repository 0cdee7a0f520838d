"""What an image has to do, and say when something is missing. Called by scripts/build_image.py.

Every container here has a read-only root, user 1000, no capabilities and no way to gain any, as in compose.yaml.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TMPFS = ("--tmpfs", "/tmp:size=512m")
LOCKED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=1000:1000")
FACE = "/app/app/arc2face_app/page/assets/examples/faces/100005.webp"
PICTURE = f"""
from gradio_client import Client, handle_file
client = Client("http://127.0.0.1:7860", verbose=False, download_files="/tmp/got")
pictures, facts = client.predict(
    photos=handle_file("{FACE}"), num_images=1, seed=7, fast=True, api_name="/generate_identity"
)
print(facts["pictures"][0]["similarity"])
"""
COMPLAINTS = ("Traceback", "Read-only file system", "Permission denied", "not a writable", "No space left")
"""What a healthy container never says."""
STARTS_WITHIN = 180.0


class CheckFailedError(Exception):
    """The image does not do what it should; the message shows what it said."""


@dataclass(frozen=True)
class Image:
    """An image and the program that runs it (docker or podman)."""

    runner: str
    tag: str

    def call(self, *words: str, stdin: str | None = None) -> str:
        """Standard output and error of one command of the runner. Raises CheckFailedError when it fails."""
        code, text = self.ask(*words, stdin=stdin)
        if code:
            raise CheckFailedError(f"{self.runner} {' '.join(words)}\nended with exit code {code}:\n{text[-3000:]}")
        return text

    def ask(self, *words: str, stdin: str | None = None) -> tuple[int, str]:
        """The same, with the exit code."""
        done = subprocess.run(
            [self.runner, *words],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=600,
        )
        return done.returncode, done.stdout

    @property
    def locked(self) -> tuple[str, ...]:
        """Options that lock a container. podman mounts folders of its own over a read-only root, docker does not."""
        return (*LOCKED, "--read-only-tmpfs=false") if self.runner == "podman" else LOCKED

    @contextmanager
    def container(self, *options: str, port: int | None = None) -> Generator[str]:
        """A running, locked container of this image; removed afterwards."""
        name = f"arc2face-try-{uuid.uuid4().hex[:8]}"
        published = () if port is None else (f"--publish=127.0.0.1:{port}:7860",)
        self.call("run", "--detach", "--name", name, *self.locked, *published, *options, self.tag)
        try:
            yield name
        finally:
            self.ask("rm", "--force", "--volumes", name)

    def once(self, *words: str, options: tuple[str, ...] = TMPFS) -> tuple[int, str]:
        """One command in a locked container of its own: exit code and what it said."""
        return self.ask("run", "--rm", *self.locked, *options, self.tag, *words)


def try_image(runner: str, tag: str, say: Callable[[str], None]) -> None:
    """All checks. `say` hears a line after each. Raises CheckFailedError."""
    image = Image(runner, tag)
    facts: dict[str, Any] = json.loads(image.call("image", "inspect", tag))[0]
    check(
        "arc2face_app.health" in json.dumps(facts), "the image has lost its health check; build it with --format docker"
    )
    say(f"image: {facts['Size'] / 1e9:.2f} GB, {facts['Architecture']}, health check kept")
    volume = f"arc2face-try-{uuid.uuid4().hex[:8]}"
    try:
        with_an_empty_volume(image, volume, say)
        when_something_is_missing(image, volume, say)
    finally:
        image.ask("volume", "rm", "--force", volume)


def with_an_empty_volume(image: Image, volume: str, say: Callable[[str], None]) -> None:
    """The page, the doctor, pictures, health and the stop, on the starter models."""
    port = _free_port()
    with image.container(*TMPFS, f"--volume={volume}:/models", port=port) as name:
        say(f"page: 200 after {_page(image, name, port):.1f} s")
        doctor = json.loads(_only_json(image.call("exec", name, "arc2face", "doctor", "--json")))
        errors = [one for one in doctor["checks"] if one["status"] == "error"]
        check(doctor["healthy"] and not errors, f"the doctor finds {errors}")
        say(f"doctor: ready, {len(doctor['checks'])} checks, no errors")
        begun = time.monotonic()
        similarity = float(image.call("exec", "--interactive", name, "python", "-", stdin=PICTURE).split()[-1])
        check(similarity > 0.4, f"the picture over the API shows somebody else (similarity {similarity})")
        say(f"API: a picture in {time.monotonic() - begun:.1f} s, similarity {similarity:.2f}")
        made = image.call("exec", name, "arc2face", "generate", FACE, "--count", "1", "--fast", "--seed", "7")
        check("outputs/" in made, f"arc2face generate says {made}")
        say("command line: a picture in outputs/, on the second volume")
        check("answers" in image.call("exec", name, "python", "-m", "arc2face_app.health"), "the health command fails")
        if image.runner == "podman":
            image.call("healthcheck", "run", name)
        begun = time.monotonic()
        image.call("stop", "--time", "30", name)
        code = json.loads(image.call("inspect", name))[0]["State"]["ExitCode"]
        check(code in (0, 143), f"the stopped server ended with exit code {code}")
        say(f"health: healthy; stop: exit code {code} after {time.monotonic() - begun:.1f} s")
        log = image.call("logs", name)
        found = [word for word in COMPLAINTS if word in log]
        check(not found, f"the log holds {found}:\n{log[-3000:]}")


def when_something_is_missing(image: Image, volume: str, say: Callable[[str], None]) -> None:
    """Each fault is named in one sentence, without a stack trace; what can go on goes on."""
    download = ("arc2face", "download", "identity", "--mirror", "/app/models/starter", "--yes")
    refused = {
        "no place for temporary files": (("arc2face", "app"), (), "The temporary folder cannot be used"),
        "a read-only volume": (download, (*TMPFS, f"--volume={volume}:/models:ro"), "cannot be written"),
        "a full volume": (download, (*TMPFS, "--tmpfs=/models:size=1m,mode=1777"), "Free some space"),
        "--device cuda without a GPU": (
            ("arc2face", "generate", FACE, "--device", "cuda"),
            TMPFS,
            "No CUDA device is available",
        ),
    }
    for what, (words, options, expected) in refused.items():
        code, text = image.once(*words, options=options)
        check(code == 1 and expected in text and "Traceback" not in text, f"{what}: exit code {code}\n{text[-3000:]}")
        say(f"{what}: {_sentence(text)}")
    port = _free_port()
    promised = ("--env=ARC2FACE_IMAGE=cuda", f"--volume={volume}:/models:ro")
    with image.container(*TMPFS, *promised, port=port) as name:
        _page(image, name, port)
        image.call("exec", "--interactive", name, "python", "-", stdin=PICTURE)
        log = image.call("logs", name)
        check("made for NVIDIA GPUs" in log and "Traceback" not in log, f"no word of the missing GPU:\n{log[-3000:]}")
        say("a GPU promised where there is none, on a read-only volume: said in the log; a picture is made on the CPU")


def check(fine: Any, otherwise: str) -> None:
    """Raises CheckFailedError with the second argument unless the first holds."""
    if not fine:
        raise CheckFailedError(otherwise)


def _page(image: Image, name: str, port: int) -> float:
    """Seconds until the page came."""
    begun = time.monotonic()
    while time.monotonic() - begun < STARTS_WITHIN:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                if answer.status == 200 and b"Arc2Face Studio" in answer.read():
                    return time.monotonic() - begun
        except OSError:
            pass
        state = json.loads(image.call("inspect", name))[0]["State"]
        check(state["Running"], f"the server ended:\n{image.ask('logs', name)[1][-3000:]}")
        time.sleep(0.5)
    raise CheckFailedError(f"no page after {STARTS_WITHIN:.0f} s:\n{image.ask('logs', name)[1][-3000:]}")


def _only_json(text: str) -> str:
    return text[text.index("{") : text.rindex("}") + 1]


def _sentence(text: str) -> str:
    """The line of the error."""
    return next((line for line in text.splitlines() if line.startswith("Error: ")), text.strip().splitlines()[-1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
