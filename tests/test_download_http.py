"""One URL to one file, over a server that truncates, corrupts, redirects, refuses and drops."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arc2face.errors import DownloadError
from arc2face.weights.download.http import NotThereError, Patience, VerificationError, fetch_url
from tests.hub_server import Hub, busy, corrupt, drop, ok, page, redirect, slow, truncated

DATA = os.urandom(3_000_001)
PROJECT = Path(__file__).resolve().parent.parent
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"f.bin": DATA}) as running:
        yield running


class Naps:
    """Stands in for time.sleep and remembers what was asked."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def patience(naps: Naps) -> Patience:
    return Patience(attempts=4, timeout=5, sleep=naps)


def right(part: Path) -> None:
    if hashlib.sha256(part.read_bytes()).hexdigest() != SHA:
        raise VerificationError("wrong bytes")


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_plain_fetch(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    heard: list[int] = []
    fetch_url(hub.url("f.bin"), tmp_path / "deep" / "f.bin", patience=patience, on_bytes=heard.append, verify=right)
    assert (tmp_path / "deep" / "f.bin").read_bytes() == DATA
    assert heard[0] == 0 and heard[-1] == len(DATA) and heard == sorted(heard)
    assert leftovers(tmp_path / "deep") == ["f.bin"]


def test_dropped_connections_are_resumed_not_restarted(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    hub.script("f.bin", drop(1_000_000), drop(700_000), drop(5), drop(400_000), drop(100_000), drop(9))
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    ranges = [s.headers.get("range") for s in hub.gets("f.bin")]
    assert ranges[0] is None and ranges[1] == "bytes=1000000-" and ranges[2] == "bytes=1700000-"
    assert len(ranges) == 7  # six drops with progress each are more than the four attempts without progress


def test_a_server_without_ranges_is_started_over(tmp_path: Path, patience: Patience) -> None:
    with Hub({"f.bin": DATA}, ranges=False) as hub:
        hub.script("f.bin", drop(1_000_000))
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert (tmp_path / "f.bin").read_bytes() == DATA


def test_a_new_version_on_the_server_is_never_glued_to_the_old_one(
    hub: Hub, tmp_path: Path, patience: Patience
) -> None:
    hub.files["f.bin"] = b"\0" * 2_000_000
    hub.script("f.bin", drop(500_000), busy(404))
    with pytest.raises(NotThereError):
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience)
    assert (tmp_path / "f.bin.part").stat().st_size == 500_000
    hub.files["f.bin"] = DATA
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert (tmp_path / "f.bin").read_bytes() == DATA


def test_rate_limits_wait_as_long_as_asked(hub: Hub, tmp_path: Path, patience: Patience, naps: Naps) -> None:
    hub.script("f.bin", busy(429, "7"), busy(503), busy(429, "Wed, 21 Oct 2015 07:28:00 GMT"))
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert naps.taken[0] == 7.0
    assert 0.5 <= naps.taken[1] <= 2.0
    assert naps.taken[2] == 0.0


def test_a_server_may_not_make_us_wait_for_ever(hub: Hub, tmp_path: Path, naps: Naps) -> None:
    hub.script("f.bin", busy(503, "86400"))
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=Patience(longest_wait=60, sleep=naps), verify=right)
    assert naps.taken == [60.0]


def test_giving_up_says_so_and_keeps_the_part(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    hub.script("f.bin", drop(1000), *[busy(500)] * 4)
    with pytest.raises(DownloadError, match=r"500 .* 4 times in a row.*run the same command again"):
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience)
    assert leftovers(tmp_path) == ["f.bin.part", "f.bin.part.json"]
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert hub.gets("f.bin")[-1].headers["range"] == "bytes=1000-"


def test_corruption_is_thrown_away_and_fetched_once_more(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    hub.script("f.bin", corrupt)
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert (tmp_path / "f.bin").read_bytes() == DATA
    assert [s.headers.get("range") for s in hub.gets("f.bin")] == [None, None]


@pytest.mark.parametrize("behaviour", [corrupt, truncated(1000), page()])
def test_lasting_damage_leaves_nothing_behind(hub: Hub, tmp_path: Path, patience: Patience, behaviour: object) -> None:
    hub.script("f.bin", behaviour, behaviour)  # pyright: ignore[reportArgumentType]
    with pytest.raises(VerificationError):
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert leftovers(tmp_path) == []


def test_an_older_good_file_survives_a_bad_download(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    (tmp_path / "f.bin").write_bytes(b"old")
    hub.script("f.bin", corrupt, corrupt)
    with pytest.raises(VerificationError):
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert (tmp_path / "f.bin").read_bytes() == b"old"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_keep_the_range(hub: Hub, tmp_path: Path, patience: Patience, code: int) -> None:
    hub.script("start", redirect("/f.bin?signed=1", code), redirect("/f.bin?signed=1", code))
    hub.script("f.bin", drop(1_000_000))
    fetch_url(hub.url("start"), tmp_path / "f.bin", patience=patience, verify=right)
    assert [s.headers.get("range") for s in hub.gets("f.bin")] == [None, "bytes=1000000-"]


def test_refused_access_is_said(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    hub.script("f.bin", busy(401))
    with pytest.raises(DownloadError, match="answered 401"):
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience)


def test_nobody_there(tmp_path: Path, patience: Patience) -> None:
    with Hub({}) as gone:
        url = gone.url("f.bin")
    with pytest.raises(DownloadError, match="could not be fetched"):
        fetch_url(url, tmp_path / "f.bin", patience=patience)


def test_only_http_addresses(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not an http"):
        fetch_url("file:///etc/hostname", tmp_path / "f.bin")


def test_a_complete_part_needs_no_second_transfer(hub: Hub, tmp_path: Path, patience: Patience) -> None:
    def killed(part: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=killed)
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin", patience=patience, verify=right)
    assert len(hub.gets("f.bin")) == 1


LIMITED = """
import resource, sys
from pathlib import Path
from arc2face.weights.download.http import fetch_url
from arc2face.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    fetch_url(sys.argv[1], Path(sys.argv[2]))
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a thing of Unix")
def test_a_full_disk_is_a_storage_error_and_keeps_the_part(hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, hub.url("f.bin"), str(tmp_path / "f.bin")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "could not be written" in done.stdout and "run the same command again" in done.stdout
    assert (tmp_path / "f.bin.part").stat().st_size == 500_000


def test_a_killed_process_leaves_a_part_that_the_next_one_finishes(hub: Hub, tmp_path: Path) -> None:
    gate = threading.Event()
    hub.script("f.bin", slow(2_000_000, gate))
    code = (
        "import sys; from pathlib import Path; from arc2face.weights.download.http import fetch_url\n"
        "fetch_url(sys.argv[1], Path(sys.argv[2]), on_bytes=lambda n: print(n, flush=True))\n"
    )
    command = [sys.executable, "-c", code, hub.url("f.bin"), str(tmp_path / "f.bin")]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 1_000_000:
                break
        child.kill()
    gate.set()
    kept = (tmp_path / "f.bin.part").stat().st_size
    assert not (tmp_path / "f.bin").exists() and 1_000_000 <= kept < len(DATA)

    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "f.bin").read_bytes() == DATA
    assert hub.gets("f.bin")[-1].headers["range"] == f"bytes={kept}-"
    assert leftovers(tmp_path) == ["f.bin"]


def test_ok_is_the_default_behaviour(hub: Hub, tmp_path: Path) -> None:
    hub.script("f.bin", ok)
    fetch_url(hub.url("f.bin"), tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == DATA
