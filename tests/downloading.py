"""Downloads in tests: fixtures and words. The hub is a real server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arc2face.weights.download import Options, Plan, fetch
from arc2face.weights.download.http import Patience
from arc2face.weights.download.sources import Remote
from arc2face.weights.table import WeightFile
from tests.hub_server import Hub

UNET = os.urandom(200_000)


ONNX = b"\x08\x08" + os.urandom(50_000)


CONFIG = b'{"a": 1}'


PATIENCE = Patience(attempts=3, timeout=5, sleep=lambda seconds: None)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def hf(path: str, data: bytes | None = None, **more: object) -> WeightFile:
    base = WeightFile(path, path, f"File {path}", "mit", "huggingface", "owner/repo", path, "c0ffee")
    known = {"bytes": len(data), "sha256": sha(data)} if data is not None else {}
    return replace(base, **known, **more)  # pyright: ignore[reportArgumentType]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The suite runs with HF_HUB_OFFLINE; here the hub is a server on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-cache"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    resolve = "owner/repo/resolve/c0ffee/"
    files = {f"{resolve}unet/w.dat": UNET, f"{resolve}unet/config.json": CONFIG}
    with Hub(files) as running:
        yield running


def options(hub: Hub, **more: object) -> Options:
    base = Options(precision="full", remote=Remote(endpoint=hub.base, drive=hub.url("drive")))
    return replace(base, **more)  # pyright: ignore[reportArgumentType]


def go(plan: Plan) -> list[str]:
    return list(fetch(plan, patience=PATIENCE).fetched)
