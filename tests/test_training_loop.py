"""The one training loop: pieces, signals, several processes, longer runs, rotation, exports at any checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from arc2face.errors import StorageError
from arc2face_training.common.checkpoint import CHECKPOINT, STABLE, load_torch, save_torch
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import Batch, Loop, LoopConfig, Objective, Outcome, Turn
from arc2face_training.common.mirror import mirrored_expressions, mirrored_normals
from arc2face_training.common.session import PieceOver, Session
from arc2face_training.common.settings import FaceLoopConfig, fall_start, learning_rate_factor
from arc2face_training.common.shares import filled
from arc2face_training.common.sources import DataConfig, StoredLatents, open_source
from arc2face_training.people import PeopleWorld
from arc2face_training.people.dataset import DatasetConfig, write_dataset
from arc2face_training.train import RunOptions, refuse_lone_process
from scripts.checkout import python_path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class LineConfig:
    """A straight line to fit."""

    slope: float = 3.0
    loop: LoopConfig = field(default_factory=LoopConfig)


class Line(Objective):
    """A line with a batch norm before it and a frozen factor."""

    def __init__(self, frozen: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.layer = torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1)
        self.factor = torch.nn.Parameter(torch.tensor([frozen]), requires_grad=False)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": (self.factor * self.layer(self.norm(batch["x"])) - batch["y"]).square().mean()}


LOOP = LoopConfig(steps=8, batch_size=4, learning_rate=1e-2, warmup=1, log_every=1, device="cpu", decay=0.5)


def run(loop: LoopConfig, out: Path, *, frozen: float = 1.0, slope: float = 3.0) -> tuple[Outcome, Line]:
    config, objective = LineConfig(slope, loop), Line(frozen)

    def draw(turn: Turn, n: int) -> Batch:
        x = torch.from_numpy(turn.rng.standard_normal((n, 2)).astype(np.float32))
        return {"x": x, "y": slope * x[:, :1]}

    return Loop(Session(loop), objective, out, config).run(draw), objective


def weights(out: Path, name: str = CHECKPOINT) -> torch.Tensor:
    return load_torch(out / name)["weights"]["layer.weight"]


def test_pieces_equal_one_run_for_both_optimisers(tmp_path: Path) -> None:
    for optimiser in ("adamw", "muon"):
        whole, pieces = tmp_path / f"{optimiser}-w", tmp_path / f"{optimiser}-p"
        loop = replace(LOOP, optimiser=optimiser)
        run(loop, whole)
        for step in range(1, 9):
            assert run(replace(loop, seconds=1e-9), pieces)[0].step == step
        a, b = load_torch(whole / CHECKPOINT), load_torch(pieces / CHECKPOINT)
        for group in ("weights", "average", "buffers"):
            assert all(torch.equal(value, b[group][name]) for name, value in a[group].items())


def test_a_longer_run_goes_on_from_before_the_fall(tmp_path: Path) -> None:
    """4: a finished run of 8 steps, lengthened to 16, equals one that was meant to be that long."""
    run(LOOP, tmp_path / "long")
    assert load_torch(tmp_path / "long" / STABLE)["step"] == 4
    outcome, _ = run(replace(LOOP, steps=16), tmp_path / "long")
    run(replace(LOOP, steps=16), tmp_path / "once")
    assert outcome.step == 16 and outcome.finished
    assert torch.equal(weights(tmp_path / "long"), weights(tmp_path / "once"))
    assert load_torch(tmp_path / "long" / STABLE)["step"] == 8


def test_rates_batches_and_places_may_change_but_not_what_is_trained(tmp_path: Path) -> None:
    """4: "belongs to a run with other settings" names the setting, and only for those that matter."""
    out = tmp_path / "a"
    run(replace(LOOP, seconds=1e-9), out)
    moved = Path(shutil.move(out, tmp_path / "b"))
    outcome, _ = run(replace(LOOP, batch_size=6, learning_rate=2e-3, seconds=1e-9), moved)
    assert outcome.step == 2
    with pytest.raises(TrainingError, match=r"other settings \(slope\)"):
        run(LOOP, moved, slope=4.0)
    with pytest.raises(TrainingError, match=r"loop\.optimiser"):
        run(replace(LOOP, optimiser="muon"), moved)
    with pytest.raises(TrainingError, match="other frozen parts"):
        run(LOOP, moved, frozen=2.0)


def test_changed_rate_is_used_after_resuming(tmp_path: Path) -> None:
    """4: the optimiser's saved state does not bring the old rate back."""
    run(replace(LOOP, seconds=1e-9), tmp_path)
    before = weights(tmp_path).clone()
    run(replace(LOOP, seconds=1e-9, learning_rate=1e-12, weight_decay=0.0), tmp_path)
    torch.testing.assert_close(weights(tmp_path), before, atol=1e-9, rtol=0)


def test_numbered_checkpoints_rotate_and_can_be_gone_on_from(tmp_path: Path) -> None:
    """7: the last two of four are kept; 4: one of them is the start of an export."""
    run(replace(LOOP, keep=2, keep_every=2), tmp_path)
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*.pt")) == [
        "checkpoint-00000006.pt",
        "checkpoint-00000008.pt",
    ]
    assert load_torch(tmp_path / "checkpoint-00000006.pt")["step"] == 6
    outcome, objective = run(replace(LOOP, checkpoint="checkpoint-00000006.pt", export="now"), tmp_path)
    assert (outcome.step, outcome.finished, outcome.export) == (6, False, True)
    assert torch.equal(objective.layer.weight.detach(), weights(tmp_path, "checkpoint-00000006.pt"))
    with pytest.raises(TrainingError, match=r"no checkpoint .*nine"):
        run(replace(LOOP, checkpoint="nine.pt"), tmp_path)
    with pytest.raises(TrainingError, match="no checkpoint to export"):
        run(replace(LOOP, export="now"), tmp_path / "empty")


def test_the_disk_must_hold_this_runs_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """7: the question is about the size of this run's files, not about a fixed gigabyte."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=(64 << 20) + 100))
    with pytest.raises(TrainingError, match="keep fewer"):
        run(LOOP, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=65 << 20))
    assert run(LOOP, tmp_path)[0].finished


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    save_torch({"a": torch.zeros(1)}, tmp_path / CHECKPOINT)
    before = (tmp_path / CHECKPOINT).read_bytes()
    code = (
        "import resource, torch, sys; from pathlib import Path\n"
        "from arc2face_training.common.checkpoint import save_torch\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "save_torch({'a': torch.zeros(10**6)}, Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / CHECKPOINT)], cwd=ROOT, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert StorageError.__name__ in done.stderr and "could not be written" in done.stderr
    assert (tmp_path / CHECKPOINT).read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


def test_learning_rate_rises_stays_and_falls() -> None:
    config = LoopConfig(steps=100, warmup=10, decay=0.5)
    values = [learning_rate_factor(step, config) for step in range(100)]
    assert values[0] == pytest.approx(0.1) and values[30] == 1.0 and values[99] < 0.01
    assert values[50:] == sorted(values[50:], reverse=True)
    face = FaceLoopConfig(steps=100, warmup=1)
    cosine = [0.51 + 0.49 * np.cos(np.pi * step / 100) for step in range(100)]
    assert [learning_rate_factor(step, face) for step in range(100)] == pytest.approx(cosine)


def test_the_fall_of_a_release_has_a_fixed_length() -> None:
    for steps in (1000, 5000):
        config = LoopConfig(steps=steps, warmup=1, decay_steps=100, fall="sqrt")
        assert fall_start(config) == steps - 100
        assert learning_rate_factor(steps - 101, config) == 1.0
        assert learning_rate_factor(steps - 75, config) == pytest.approx(0.5)


# Real processes.


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_cpu_trains_in_bfloat16_where_it_can_and_in_float32_else(precision: str) -> None:
    code = (
        "from arc2face_training.common.session import Session, cpu_has_bfloat16;"
        "from arc2face_training.common.settings import LoopConfig;"
        f"chosen = Session(LoopConfig(precision={precision!r}, device='cpu')).accelerator.mixed_precision;"
        "print(chosen, cpu_has_bfloat16())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    chosen, can = done.stdout.split()
    assert chosen == ("bf16" if precision == "bf16" and can == "True" else "no")
    assert "training on the CPU" in done.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def settings(world: PeopleWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file of a very small landmark network whose run would take hours."""
    folder = tmp_path_factory.mktemp("toy")
    write_dataset(folder / "data", DatasetConfig(people=3, per_person=2, normals=False), processes=1)
    config = {
        "data": str(folder / "data"), "evaluation": str(folder / "data"), "widths": [8, 8, 8, 8],
        "loop": {"steps": 1_000_000, "batch_size": 2, "log_every": 1, "save_seconds": 1e6, "device": "cpu"},
    }  # fmt: skip
    (folder / "toy.yaml").write_text(yaml.safe_dump(config))
    return folder / "toy.yaml"


def start(settings: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "arc2face_training",
        "landmarks",
        "--config",
        str(settings),
        "--out",
        str(out),
        *words,
    ]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, stderr=subprocess.PIPE)


def until(condition: Callable[[], bool], process: subprocess.Popen[str], most: float = 120) -> None:
    ends = time.monotonic() + most
    while not condition():
        assert process.poll() is None and time.monotonic() < ends, process.stderr and process.stderr.read()
        time.sleep(0.1)


def test_sigterm_ends_a_face_trainer_with_a_checkpoint(settings: Path, tmp_path: Path) -> None:
    """10: SIGTERM, which was ignored there, is heard after the step; nothing is lost."""
    process = start(settings, tmp_path)
    until(lambda: (tmp_path / "log.jsonl").exists(), process)
    assert not (tmp_path / CHECKPOINT).exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert load_torch(tmp_path / CHECKPOINT)["step"] == steps[-1]


def test_two_processes_stop_together(settings: Path, tmp_path: Path) -> None:
    """2: each had looked at its own clock; the one that left first let the other wait for ever."""
    process = start(settings, tmp_path, "--processes", "2", "--seconds", "3")
    assert process.wait(120) == 0, process.stderr and process.stderr.read()
    first = load_torch(tmp_path / CHECKPOINT)["step"]
    assert first > 0
    process = start(settings, tmp_path, "--processes", "2")
    until(lambda: int(json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"]) > first, process)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert load_torch(tmp_path / CHECKPOINT)["step"] > first


def test_a_signal_to_one_of_two_processes_stops_both(settings: Path, tmp_path: Path) -> None:
    """2: the signal reaches the second process only; the first one, which saves, is told."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = ["-m", "arc2face_training", "landmarks", "--config", str(settings), "--out", str(tmp_path)]
    process = subprocess.Popen([*launcher, *words], cwd=ROOT, env=environment(), text=True, stderr=subprocess.PIPE)
    until(lambda: (tmp_path / "log.jsonl").exists(), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    second = [c for c in children if b"LOCAL_RANK=1\0" in Path(f"/proc/{c}/environ").read_bytes()]
    os.kill(int(second[0]), signal.SIGTERM)
    assert process.wait(60) == 0
    assert (tmp_path / CHECKPOINT).exists()


def test_options_of_the_command_line_change_the_run(settings: Path, tmp_path: Path) -> None:
    """9: steps, single settings, no-resume and export, as `arc2face train` passes them on."""
    from typer.testing import CliRunner

    from arc2face_app.cli.root import app

    def command(*words: str) -> Any:
        return CliRunner().invoke(app, ["train", "landmarks", "--config", str(settings), "-o", str(tmp_path), *words])

    assert command("--steps", "2", "loop.batch_size=3").exit_code == 0
    state = load_torch(tmp_path / CHECKPOINT)
    assert (state["step"], state["settings"]["loop"]["batch_size"]) == (2, 3)
    assert command("--steps", "5", "--seconds", "0.000001").exit_code == 0
    assert load_torch(tmp_path / CHECKPOINT)["step"] == 3
    (tmp_path / "1k3d68.onnx").unlink()
    assert command("--export").exit_code == 0 and (tmp_path / "1k3d68.onnx").exists()
    assert command("--steps", "1", "--no-resume").exit_code == 0
    assert load_torch(tmp_path / CHECKPOINT)["step"] == 1
    assert command("loop.batch_size").exit_code != 0


def test_overrides_that_are_none_are_refused() -> None:
    with pytest.raises(TrainingError, match="not key=value"):
        RunOptions(("steps",)).overrides()
    with pytest.raises(TrainingError, match="cannot be read"):
        RunOptions(("a=[",)).overrides()
    assert RunOptions(("a.b=1e-3", "c=x"), steps=4).overrides() == {"a.b": "1e-3", "c": "x", "loop.steps": 4}
    assert RunOptions(tracker="none").overrides() == {"loop.tracker": "none"}
    assert RunOptions(tracker="none").arguments() == ["--tracker", "none"]


def test_accelerate_with_one_process_instead_of_two_is_refused(settings: Path, tmp_path: Path) -> None:
    """9: `accelerate launch --num_processes 2 --cpu` starts one process, silently."""
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "--cpu",
        "-m",
        "arc2face_training",
    ]
    words = ["landmarks", "--config", str(settings), "--out", str(tmp_path), "--steps", "1"]
    done = subprocess.run([*command, *words], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "--processes 2" in done.stderr
    refuse_lone_process({"ACCELERATE_MIXED_PRECISION": "no", "LOCAL_RANK": "0", "MASTER_ADDR": "a"})


# Prepared data.


def test_an_array_is_filled_in_pieces(tmp_path: Path) -> None:
    session, written = Session(replace(LOOP, seconds=1e-9)), list[int]()

    def write(array: Any, units: Any) -> None:
        array[units] = units[:, None]
        written.extend(units.tolist())

    ready = np.array([True, True, False, True, True])
    with pytest.raises(PieceOver):
        filled(tmp_path / "a.npy", (5, 2), ready, write, session, batch=3)
    array = filled(tmp_path / "a.npy", (5, 2), ready, write, session, batch=3)
    assert array[:, 0].tolist() == [0, 1, 0, 3, 4] and written == [0, 1, 3, 4]


def test_mirrored_labels() -> None:
    rows = torch.zeros(1, 55)
    rows[0, :3], rows[0, 50:] = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0, 7.0, 8.0])
    found = mirrored_expressions(rows, ("smileLeft", "smileRight", "mouth_shift"))[0]
    assert found[:3].tolist() == [2, 1, -3] and found[50:].tolist() == [5, 4, 6, -7, -8]
    maps = torch.zeros(1, 3, 1, 2)
    maps[0, :, 0, 0] = torch.tensor([0.9, 0.5, 0.8])
    turned = mirrored_normals(maps)
    torch.testing.assert_close(turned[0, :, 0, 1], torch.tensor([0.1, 0.5, 0.8]))
    assert turned[0, :, 0, 0].tolist() == [0, 0, 0]


def test_half_of_the_pictures_are_mirrored(world: PeopleWorld, tmp_path: Path) -> None:
    write_dataset(tmp_path, DatasetConfig(people=2, per_person=2, size=32), processes=1)
    source = open_source(DataConfig(path=tmp_path, size=32, flip=True))
    plain, mirrored = torch.zeros(4, 1, 2, 2).half(), torch.ones(4, 1, 2, 2).half()
    batch = source.draw(np.random.default_rng(0), 40, ("pixels", "expression"), StoredLatents(plain, mirrored))
    assert 8 < float(batch["latents"][:, 0, 0, 0].sum()) < 32
    again = source.draw(np.random.default_rng(0), 40, ("pixels",))
    flips = batch["latents"][:, 0, 0, 0] > 0
    straight = open_source(DataConfig(path=tmp_path, size=32))
    first, _ = straight.choose(np.random.default_rng(0), 40)
    wanted = straight.pixels(first)
    assert torch.equal(again["pixels"][flips], wanted[flips].flip(-1))
    assert torch.equal(again["pixels"][~flips], wanted[~flips])


def test_pictures_of_another_size_are_refused(world: PeopleWorld, tmp_path: Path) -> None:
    write_dataset(tmp_path, DatasetConfig(people=1, per_person=2, size=32), processes=1)
    with pytest.raises(TrainingError, match="32 pixels a side, not 64"):
        open_source(DataConfig(path=tmp_path, size=64))
