"""Disks that refuse: no permissions, no locks, no room, names that are too long, no home folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arc2face.errors import CorruptWeightsError, DownloadError, StorageError
from arc2face.weights.download import Options, fetch, plan_files
from arc2face.weights.download.ledger import Entry, Ledger
from arc2face.weights.download.lock import only_one
from arc2face.weights.store import hash_file, load_state_dict, sha256_of
from arc2face.weights.writing import cache_folder, replace_with

PROJECT = Path(__file__).resolve().parents[2]


def test_a_disk_without_permissions_takes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A4: chmod answers EPERM on some mounted disks."""

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with replace_with(tmp_path / "f") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "f").read_text() == "x"


@pytest.mark.skipif(os.name != "posix", reason="flock is POSIX")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks_downloads_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A4: it used to say for ever that another download is under way."""

    def refuse(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with only_one(tmp_path) as locked:
        assert locked is False
    outcome = fetch(plan_files([], tmp_path, Options()))
    assert any("without locks" in note for note in outcome.notes)


def test_a_lock_that_is_taken_is_still_respected(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(DownloadError, match="under way"), only_one(tmp_path):
        pass


@pytest.mark.parametrize("length", [200, 245, 255])
def test_any_name_that_fits_can_be_written(tmp_path: Path, length: int) -> None:
    """C5: names of 245 to 255 bytes failed because the temporary name was longer."""
    with replace_with(tmp_path / ("n" * length)) as temporary:
        temporary.write_text("x")
    assert (tmp_path / ("n" * length)).read_text() == "x"


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Free some disk space"), (errno.EROFS, "read-only"), (errno.EACCES, "permissions")],
)
def test_refusals_are_told_with_the_advice_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match=advice), replace_with(tmp_path / "f"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_and_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="shorter name"), replace_with(tmp_path / ("n" * 300)):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder of this name"), replace_with(tmp_path / "folder"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="homes are found differently elsewhere")
def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """C5: without HOME and without an entry in the user database there was a RuntimeError."""

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("ARC2FACE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder().name == "arc2face" and cache_folder().parent.is_dir()


def test_a_changed_file_of_equal_size_and_time_is_hashed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: the cache of hashes also looks at inode and change time."""
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "w"
    path.write_bytes(b"one")
    before = sha256_of(path)
    status = path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.replace(other, path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert sha256_of(path) == hash_file(path) != before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 5}', '{"files": {"a": {"sha256": 5, "bytes": "x"}}}'])
def test_damaged_recorded_hashes_are_never_passed_over(tmp_path: Path, text: str) -> None:
    """Trust on first use would begin anew without a word, and the next write would drop every hash."""
    (tmp_path / "checksums.json").write_text(text)
    with pytest.raises(CorruptWeightsError, match=r"checksums\.json"):
        Ledger(tmp_path).get("a")
    with pytest.raises(CorruptWeightsError, match=r"checksums\.json"):
        Ledger(tmp_path).put("a", Entry("0" * 64, 1))
    assert (tmp_path / "checksums.json").read_text() == text


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from arc2face.weights.store import load_state_dict
import arc2face_emoca as emoca
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
print(float(load_state_dict(Path(sys.argv[1]))["t"].sum()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are a thing of Unix")
def test_a_full_cache_disk_costs_time_only(tmp_path: Path) -> None:
    """K21: the tensors come without the converted copy, and nothing half is left."""
    import torch

    torch.save({"t": torch.ones(100_000)}, tmp_path / "w.bin")
    env = {**os.environ, "ARC2FACE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "w.bin")]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "100000.0"
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == ["hashes.json"]
    known = json.loads((tmp_path / "cache" / "hashes.json").read_text())
    assert next(iter(known.values()))[-1] == hash_file(tmp_path / "w.bin")


@pytest.mark.parametrize("when", [0, 4_000_000_000])
def test_a_clock_that_is_set_makes_no_file_stale_or_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """Issue 10, point 3: model files from 1970 and 2096, converted, hashed and written down under another clock."""
    import time

    import torch

    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "w.bin"
    for value in (1.0, 2.0):
        torch.save({"t": torch.full((100,), value)}, source)
        os.utime(source, (when, when))
        for clock in (0.0, 2e9, 1e9):
            monkeypatch.setattr(time, "time", lambda clock=clock: clock)
            assert torch.equal(load_state_dict(source)["t"], torch.full((100,), value))
            assert sha256_of(source) == hash_file(source)
    ledger = Ledger(tmp_path)
    ledger.put("w.bin", Entry("1" * 64, 1))
    os.utime(tmp_path / "checksums.json", (when, when))
    ledger.put("v.bin", Entry("2" * 64, 2))
    assert [ledger.get(name) for name in ("w.bin", "v.bin")] == [Entry("1" * 64, 1), Entry("2" * 64, 2)]
