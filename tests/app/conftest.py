"""One running app for all tests of this folder, on tiny models that are complete."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from arc2face.engine import Engine
from arc2face_app import server
from arc2face_app.runs.backend import Backend
from arc2face_app.settings import ServerSettings
from tests.app import bundle


@dataclass(frozen=True)
class Studio:
    """A running app."""

    url: str
    page: Any
    backend: Backend

    def client(self) -> Client:
        """A new visitor over HTTP."""
        return Client(self.url, verbose=False, httpx_kwargs={"timeout": 120})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def models(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.make_bundle(tiny_tree, tmp_path_factory.mktemp("app") / "tree")


@pytest.fixture(scope="session")
def studio(models: Path) -> Iterator[Studio]:
    backend = Backend.of(Engine.open(models, device="cpu"))
    settings = ServerSettings(port=free_port(), models=models, mcp=False)
    page = server.launch(settings, backend)
    yield Studio(f"http://127.0.0.1:{settings.port}", page, backend)
    page.close()
    backend.close()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures by what they show: one, other, two, nobody, broken."""
    folder = tmp_path_factory.mktemp("photos")
    broken = folder / "broken.png"
    broken.write_bytes(b"")
    return {
        "one": bundle.person_photo(folder / "one.png"),
        "other": bundle.person_photo(folder / "other.png", bundle.YELLOW),
        "two": bundle.two_people(folder / "two.png"),
        "nobody": bundle.nobody(folder / "nobody.png"),
        "broken": broken,
    }


@pytest.fixture
def upload(photos: dict[str, Path]) -> Callable[[str], Any]:
    """A photo as `gradio_client` sends it."""
    from gradio_client import handle_file

    return lambda name: handle_file(str(photos[name]))
