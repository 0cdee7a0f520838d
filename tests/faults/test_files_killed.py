"""Processes that are killed, or that do the same thing at once, while model files are written. Real processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from arc2face.weights.store import load_state_dict
from arc2face.weights.writing import TEMPORARY_PREFIX
from tests.hub_server import Hub, slow

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

CONVERT = """
import sys
from pathlib import Path
from arc2face.weights.store import load_state_dict
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[1:]:
    tensors = load_state_dict(Path(name))
    print(len(tensors), float(sum(t.sum() for t in tensors.values())), flush=True)
"""
# Stops in the middle of writing the converted copy, with part of it on the disk, and waits to be killed.
STOP_IN_WRITING = """
import safetensors.torch, sys, time
real = safetensors.torch.save_file
def half(tensors, path, *args, **options):
    real(tensors, path, *args, **options)
    with open(path, "rb+") as stream:
        stream.truncate(stream.seek(0, 2) // 2)
    print("writing", flush=True)
    time.sleep(120)
safetensors.torch.save_file = half
"""


def start(code: str, *names: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, names)]
    return subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read_until(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the process ended before it said {word}")


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_two_processes_convert_the_same_files_at_once(tmp_path: Path, cache: Path) -> None:
    """Both get every tensor; one whole copy of each file is left and nothing else."""
    names = [tmp_path / f"w{i}.bin" for i in range(4)]
    for i, name in enumerate(names):
        torch.save({f"t{k}": torch.full((40_000,), float(i + k)) for k in range(8)}, name)
    children = [start(CONVERT, *names, env={"ARC2FACE_CACHE": str(cache)}) for _ in range(2)]
    for child in children:
        read_until(child, "ready")
    for child in children:
        go(child)
    told = [child.communicate(timeout=120)[0] for child in children]
    wanted = "".join(f"8 {float(sum(i + k for k in range(8)) * 40_000)}\n" for i in range(4))
    assert told == [wanted, wanted]
    assert [child.returncode for child in children] == [0, 0]
    files = sorted(path for path in (cache / "converted").rglob("*") if path.is_file())
    assert len(files) == 4 and {path.name for path in files} == {"weights.safetensors"}
    assert torch.equal(load_state_dict(names[2])["t1"], torch.full((40_000,), 3.0))


def test_a_killed_conversion_is_made_anew_and_its_leftovers_go(tmp_path: Path, cache: Path) -> None:
    """K21: kill -9 in the middle of writing; the next start converts again, later ones clear what was left."""
    source = tmp_path / "w.bin"
    torch.save({"t": torch.arange(50_000.0)}, source)
    child = start(STOP_IN_WRITING + CONVERT, source, env={"ARC2FACE_CACHE": str(cache)})
    read_until(child, "ready")
    go(child)
    read_until(child, "writing")
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    (left,) = cache.glob(f"converted/*/{TEMPORARY_PREFIX}*")
    assert left.stat().st_size > 50_000 and not list(cache.glob("converted/*/*.safetensors"))

    assert torch.equal(load_state_dict(source)["t"], torch.arange(50_000.0))
    assert left.exists(), "it may belong to a process that is at work"
    os.utime(left, (1_000_000, 1_000_000))
    other = tmp_path / "other.bin"
    torch.save({"t": torch.ones(3)}, other)
    load_state_dict(other)
    assert not left.exists()
    assert len(list(cache.glob("converted/*/weights.safetensors"))) == 2


FETCH = """
import sys
from pathlib import Path
import huggingface_hub.constants as constants
constants.HF_HUB_OFFLINE = False
constants.DOWNLOAD_CHUNK_SIZE = 100_000
from arc2face.weights.download import Options, fetch, plan_files
from arc2face.weights.download.sources import Remote
from arc2face.weights.entries import WeightFile
origin, base, sha, root = sys.argv[1:]
if origin == "huggingface":
    file = WeightFile("w", "unet/w.dat", "W", "mit", origin, "owner/repo", "w.dat", "c0ffee", 3_000_000, sha)
else:
    file = WeightFile("w", "unet/w.dat", "W", "mit", origin, "", base + "/w.dat", None, 3_000_000, sha)
plan = plan_files([file], Path(root), Options(precision="full", remote=Remote(endpoint=base)))
print("jobs", len(plan.jobs), flush=True)
def heard(event):
    if event.kind == "bytes" and event.done >= 1_000_000:
        print("some", flush=True)
fetch(plan, heard)
"""


@pytest.mark.parametrize("origin", ["huggingface", "https"])
def test_a_killed_download_is_finished_by_the_next_one(tmp_path: Path, origin: str) -> None:
    """kill -9 in the middle: nothing half lies under the file's name, and the same command completes it."""
    data = os.urandom(3_000_000)
    sha, gate, root = hashlib.sha256(data).hexdigest(), threading.Event(), tmp_path / "m"
    path = "owner/repo/resolve/c0ffee/w.dat" if origin == "huggingface" else "w.dat"
    with Hub({path: data}) as hub:
        hub.script(path, slow(2_000_000, gate))
        arguments = [Path(origin), hub.base, sha, str(root)]
        child = start(FETCH, *arguments, env={})  # pyright: ignore[reportArgumentType]
        read_until(child, "some")
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=30)
        gate.set()
        assert not (root / "unet" / "w.dat").exists()
        again = start(FETCH, *arguments, env={})  # pyright: ignore[reportArgumentType]
        told = again.communicate(timeout=120)[0]
        assert again.returncode == 0 and told.startswith("jobs 1")
        third = start(FETCH, *arguments, env={})  # pyright: ignore[reportArgumentType]
        assert third.communicate(timeout=120)[0].strip() == "jobs 0"
    assert (root / "unet" / "w.dat").read_bytes() == data
    left = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert left == [".download.lock", "checksums.json", "unet/w.dat"]


EMOCA = """
import sys
from pathlib import Path
import arc2face_emoca as emoca
print("ready", flush=True)
sys.stdin.readline()
print(int(emoca.load_geometry(Path(sys.argv[1]), cache_dir=Path(sys.argv[2])).geometry.faces.sum()), flush=True)
"""


def test_two_processes_convert_the_same_head_at_once(tmp_path: Path) -> None:
    from tests.recipe3d import PICKLE, drawn_faces, write_flame_pickle, write_template

    write_flame_pickle(tmp_path / "assets" / PICKLE)
    write_template(tmp_path / "assets" / PICKLE.replace("generic_model.pkl", "head_template.obj"))
    children = [start(EMOCA, tmp_path / "assets", tmp_path / "cache", env={}) for _ in range(2)]
    for child in children:
        read_until(child, "ready")
    for child in children:
        go(child)
    assert [int(child.communicate(timeout=120)[0]) for child in children] == [int(drawn_faces().sum())] * 2
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".safetensors"]
