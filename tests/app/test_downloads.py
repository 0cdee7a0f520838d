"""Fetching models from the page: one at a time, stopped and gone on with, verified, then in use; off where shared."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arc2face.errors import DownloadError, MissingWeightsError
from arc2face.weights.download import Options, Plan, plan_files
from arc2face.weights.table import WeightFile
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.downloads import BUSY, Downloads, Transfer, downloads_of
from arc2face_app.settings import ServerSettings
from tests.hub_server import Hub, corrupt, slow

DATA = os.urandom(700_000)
NAME = "lcm-lora-sdv1-5/part.dat"


def weight(licence: str = "mit", sha256: str | None = None) -> WeightFile:
    digest = sha256 or hashlib.sha256(DATA).hexdigest()
    return WeightFile(NAME, NAME, "A part", licence, "https", "", NAME, None, len(DATA), digest)


class Models:
    """Stands for an engine: what a backend keeps and closes."""

    class worker:
        busy = False

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({NAME: DATA}) as running:
        yield running


def downloads(hub: Hub, root: Path, file: WeightFile, backend: Any = None) -> Downloads:
    def planner(features: Sequence[str], folder: Path, options: Options) -> Plan:
        assert list(features) == ["fast"]
        return plan_files([file], folder, replace(options, mirror=hub.base))

    return Downloads(backend or Backend.of(Models()), root, planner=planner)  # type: ignore[arg-type]


def ended(one: Downloads) -> Transfer:
    return list(one.follow())[-1]


def test_files_come_are_checked_and_the_models_are_opened_anew(hub: Hub, tmp_path: Path) -> None:
    """Point 9: progress until the end; the fresh engine takes over, the old one is closed once it is idle."""
    opened = [Models(), Models()]
    backend = Backend(lambda: opened.pop(0))  # type: ignore[arg-type, return-value]
    first = backend.engine()
    one = downloads(hub, tmp_path, weight(), backend)
    one.start(one.plan("fast"))
    seen = list(one.follow())
    assert [t.state for t in seen if t.state not in ("running", "loading")] == ["done"]
    assert seen[0].total == len(DATA) and seen[-1].done == len(DATA) and seen[-1].count == 1
    assert (tmp_path / NAME).read_bytes() == DATA
    assert backend.engine() is not first and not opened
    with pytest.raises(DownloadError, match="nothing to fetch"):
        one.start(one.plan("fast"))


def test_stop_keeps_what_has_come_and_the_next_goes_on(hub: Hub, tmp_path: Path) -> None:
    gate = threading.Event()
    hub.script(NAME, slow(400_000, gate))
    one = downloads(hub, tmp_path, weight())
    one.start(one.plan("fast"))
    with pytest.raises(DownloadError, match=BUSY):
        one.start(one.plan("fast"))
    part = tmp_path / f"{NAME}.part"
    for transfer in one.follow():
        if transfer.done:
            one.stop()
    gate.set()
    assert ended(one).state == "stopped" and "kept" in ended(one).message
    assert 0 < part.stat().st_size <= 400_000
    one.start(one.plan("fast"))
    assert ended(one).state == "done"
    assert (tmp_path / NAME).read_bytes() == DATA
    assert any("range" in seen.headers for seen in hub.gets(NAME))


def test_wrong_bytes_end_in_a_sentence(hub: Hub, tmp_path: Path) -> None:
    hub.script(NAME, corrupt, corrupt)
    one = downloads(hub, tmp_path, weight())
    one.start(one.plan("fast"))
    assert ended(one).state == "failed" and "another content than the published one" in ended(one).message
    assert not (tmp_path / NAME).exists()


def test_a_licence_is_asked_for_first(hub: Hub, tmp_path: Path) -> None:
    one = downloads(hub, tmp_path, weight("flame"))
    plan = one.plan("fast")
    assert not plan.jobs and [job.licence.key for job in plan.blocked] == ["flame"]
    with pytest.raises(DownloadError, match="nothing to fetch"):
        one.start(plan)
    assert len(one.plan("fast", ["flame"]).jobs) == 1


def test_models_that_cannot_be_opened_leave_the_old_ones(hub: Hub, tmp_path: Path) -> None:
    first = Models()

    def opener() -> Any:
        raise MissingWeightsError("Something is missing.")

    backend = Backend.of(first)  # type: ignore[arg-type]
    backend._open = opener
    one = downloads(hub, tmp_path, weight(), backend)
    one.start(one.plan("fast"))
    assert ended(one).state == "failed" and "Something is missing." in ended(one).message
    assert backend.engine() is first and not first.closed


def test_only_a_page_for_oneself_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point 9: off on shared servers and in a Space."""
    backend = Backend.of(Models())  # type: ignore[arg-type]

    def allowed(**fields: Any) -> bool:
        return downloads_of(ServerSettings(**fields), backend, lambda root: backend.engine()) is not None

    monkeypatch.delenv("SPACE_ID", raising=False)
    assert allowed() and allowed(host="::1")
    assert not allowed(host="0.0.0.0")
    assert not allowed(hosts=("studio.example",))
    assert not allowed(root_path="/studio")
    assert not allowed(share=True, auth=("a", "b"))
    monkeypatch.setenv("SPACE_ID", "somebody/studio")
    assert not allowed()


def test_full_weights_do_not_go_among_the_small_ones(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"kind": "starter"}')
    backend = Backend.of(Models())  # type: ignore[arg-type]
    small = downloads_of(ServerSettings(models=tmp_path), backend, lambda root: backend.engine())
    assert small is not None and small.root == Path("models")
    own = downloads_of(ServerSettings(models=tmp_path / "own"), backend, lambda root: backend.engine())
    assert own is not None and own.root == tmp_path / "own"
