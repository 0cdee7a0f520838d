"""A data set whose writers are killed, meet a full disk, or lose a worker: nothing lost, nothing doubled.

Real processes. Random moments of whole runs: python -m bench.dataset --kills 20.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.parts import Part
from arc2face.dataset.plan import DatasetPlan, Drawing
from arc2face.dataset.planning import make_folder
from arc2face.dataset.running import EngineChoice, run
from arc2face.dataset.verify import verify
from arc2face.errors import DeviceError
from tests.faults.conftest import Start

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 and limits of file sizes are POSIX")


def make(path: Path, people: int = 4, per_shard: int = 2, pictures: int = 2, steps: int = 2) -> DatasetFolder:
    vectors = np.random.default_rng(3).standard_normal((people, 512)).astype(np.float32)
    who = Identities(tuple(f"person-{k}" for k in range(people)), vectors, ("",) * people)
    drawing = Drawing(steps=steps, height=64, width=64)
    plan = DatasetPlan(
        people=people,
        identities_sha256=who.sha256,
        pictures=pictures,
        per_shard=per_shard,
        batch=2,
        drawing=drawing,
    )
    return make_folder(plan, who, path, side=64)


# One process opens the models; every run is a fork of it that is killed at its stage, and another one that goes on.
STAGES = ("drawing", "adding", "tar written", "tar replaced", "manifest written", "manifest replaced", "second shard")
KILLED = """
import os, resource, shutil, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import arc2face.weights.writing as writing
from arc2face.dataset import drawing, shards
from arc2face.dataset.planning import open_set
from arc2face.dataset.running import EngineChoice, run
from arc2face.dataset.verify import verify
from arc2face.errors import StorageError

root, models = Path(sys.argv[1]), sys.argv[2]
choice = EngineChoice(models, "cpu")
engine = choice.open()
run(root / "whole", choice, engine=engine)
whole = {p.name: p.read_bytes() for p in (root / "whole" / "shards").iterdir()}

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def after(call, when):
    def changed(*values, **named):
        found = call(*values, **named)
        if when(*values):
            die()
        return found
    return changed

def cut(path):
    with open(path, "rb+") as stream:
        stream.truncate(stream.seek(0, 2) // 2)
    die()

def prepare(stage):
    if stage == "drawing":
        drawing.Drawer.person = after(drawing.Drawer.person, lambda self, number: number == 1)
    elif stage == "adding":
        shards._Tar._member = after(shards._Tar._member, lambda self, name, data: name.endswith("1_0000.png"))
    elif stage == "tar written":
        writing._sync = cut
    elif stage == "tar replaced":
        os.replace = after(os.replace, lambda a, b: str(b).endswith(".tar"))
    elif stage == "manifest written":
        real = writing._sync
        writing._sync = lambda path: cut(path) if path.read_bytes()[:4] == b"PAR1" else real(path)
    elif stage == "manifest replaced":
        os.replace = after(os.replace, lambda a, b: str(b).endswith(".parquet"))
    elif stage == "second shard":
        drawing.Drawer.person = after(drawing.Drawer.person, lambda self, number: number == 2)
    elif stage == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

def fork(body):
    child = os.fork()
    if child == 0:
        try:
            code = body()
        except StorageError as error:
            print(error, file=sys.stderr, flush=True)
            code = 7
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def broken(folder, stage):
    prepare(stage)
    run(folder, choice, engine=engine)
    return 0

def finished(folder):
    run(folder, choice, engine=engine)
    return 0

for stage in sys.argv[3].split(","):
    folder = root / stage.replace(" ", "-")
    shutil.copytree(root / "whole", folder)
    shutil.rmtree(folder / "shards")
    ended = fork(lambda: broken(folder, stage))
    found = verify(folder)
    left = found.unfinished
    for path in (folder / "shards").glob(".arc2face-*"):
        os.utime(path, (1_000_000, 1_000_000))
    again = fork(lambda: finished(folder))
    now = {p.name: p.read_bytes() for p in (folder / "shards").iterdir()}
    print("|".join(map(str, (stage, ended, found.sound, found.shards, left, again, now == whole))), flush=True)
engine.close()
"""


def test_kill_9_at_every_stage_and_a_full_disk(start: Start, tiny_tree: Path, tmp_path: Path) -> None:
    """What was committed stays, what was not is drawn again, byte for byte, and what was left half is swept."""
    make(tmp_path / "whole")
    process = start(KILLED, tmp_path, tiny_tree / "models", ",".join((*STAGES, "full")))
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    committed = {"manifest replaced": 1, "second shard": 1}
    left = {"tar replaced": 0, "manifest replaced": 0}
    wanted = [f"{stage}|-9|True|{committed.get(stage, 0)}|{left.get(stage, 1)}|0|True" for stage in STAGES]
    assert output.splitlines() == [*wanted, "full|7|True|0|0|0|True"]
    assert "00000.tar could not be written" in errors


def children(parent: int | None = None) -> set[int]:
    """Spawned workers of a process, usually this one (multiprocessing's resource tracker is none)."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "stat").read_text().rpartition(")")[2].split()
            if int(words[1]) == (parent or os.getpid()) and b"spawn_main" in (path / "cmdline").read_bytes():
                found.add(int(path.name))
        except OSError:
            continue
    return found


CLI = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background inherit "ignored"
from arc2face_app.cli import main
sys.exit(main(sys.argv[1:]))
"""


def wait_for(folder: DatasetFolder, count: int) -> None:
    until = time.monotonic() + 200
    while len(folder.committed()) < count and time.monotonic() < until:
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_killed_worker_is_replaced_and_ctrl_c_ends_all_workers(start: Start, tiny_tree: Path, tmp_path: Path) -> None:
    """Two processes, one of them killed in the middle of a shard; then Ctrl-C in the middle of another one."""
    folder = make(tmp_path / "faces", people=30, per_shard=1, steps=60)
    process = start(CLI, "dataset", "run", folder.root, "--models", tiny_tree / "models", "--devices", "cpu,cpu")
    wait_for(folder, 1)
    first, second = sorted(children(process.pid))
    os.kill(first, signal.SIGKILL)
    wait_for(folder, len(folder.committed()) + 4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    told = " ".join(errors.split())
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert f"is drawn again: its worker (process {first}) was killed by signal 9." in told
    assert f"of 30 shards are finished and stay in {folder.root}; the same command goes on." in told
    assert not any(Path(f"/proc/{worker}").exists() for worker in (first, second))
    found = verify(folder)
    assert found.sound and 5 <= found.shards < 30 and found.unfinished == 0
    # What the others drew is what this process draws.
    alone = make(tmp_path / "alone", people=30, per_shard=1, steps=60)
    run(alone, EngineChoice(str(tiny_tree / "models"), "cpu"), part=Part(0, 15))
    pixels = {row.key: row.pixels_sha256 for row in folder.rows()}
    assert [pixels[row.key] for row in alone.rows() if row.key in pixels]
    assert all(pixels.get(row.key, row.pixels_sha256) == row.pixels_sha256 for row in alone.rows())


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_ray_draws_the_shard_of_a_killed_worker_again(
    start: Start, tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray core through the command line, two actors, one killed in the middle: the same digest; nothing is listened to
    but the loopback address, no token is left behind, and standard output holds the answer alone (pitfalls C3.1, C3.2).
    """
    folder = make(tmp_path / "faces", people=6, per_shard=1, steps=20)
    script = """
import os, signal, sys
from pathlib import Path
from arc2face.dataset import ray_running
from arc2face_app.cli import main

root, killed = Path(sys.argv[1]), []

def ours():
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={root.parent}".encode() in (path / "environ").read_bytes():
                yield path, (path / "cmdline").read_bytes()
        except OSError:
            continue

def listening(paths):
    sockets = set()
    for path in paths:
        for handle in (path / "fd").glob("*"):
            try:
                sockets.add(os.readlink(handle))
            except OSError:
                continue
    lines = [line.split() for kind in ("tcp", "tcp6") for line in open(f"/proc/net/{kind}").read().splitlines()[1:]]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}

real = ray_running._Actors.wait
def wait(self, seconds):
    if not killed and len(list((root / "shards").glob("*.parquet"))) >= 1:
        processes = list(ours())
        drawing = [int(path.name) for path, words in processes if words.startswith(b"ray::ShardActor.draw")]
        if drawing:
            sys.stderr.write(f"listening {sorted(listening(path for path, _ in processes))}\\n")
            killed.append(drawing[0])
            os.kill(drawing[0], signal.SIGKILL)
    return real(self, seconds)
ray_running._Actors.wait = wait
words = ["dataset", "run", str(root), "--models", sys.argv[2], "--device", "cpu", "--ray", "local", "--workers", "2"]
code = main([*words, "--json"])
assert killed
sys.exit(code)
"""
    monkeypatch.setenv("HOME", str(tmp_path))
    process = start(script, folder.root, tiny_tree / "models")
    output, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors[-3000:]
    done = json.loads(output)
    assert done["shards"] == 6 and len(done["notes"]) >= 1 and not (tmp_path / ".ray").exists()
    addresses = set(re.findall(r"'(\w+)'", next(line for line in errors.splitlines() if line.startswith("listening"))))
    assert addresses and addresses <= {"0000000000000000FFFF00000100007F", "0100007F"}  # 127.0.0.1
    alone = make(tmp_path / "alone", people=6, per_shard=1, steps=20)
    run(alone, EngineChoice(str(tiny_tree / "models"), "cpu"))
    assert verify(folder).complete and verify(folder).digest == verify(alone).digest


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_ray_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    from arc2face.dataset.ray_running import run_on_ray

    folder = make(tmp_path / "faces")
    with pytest.raises(DeviceError, match="cannot be reached"):
        run_on_ray(folder, EngineChoice(), address="127.0.0.1:1")
