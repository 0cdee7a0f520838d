"""The driver that makes a bundle from nothing: order, pieces, being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from arc2face_training.common import augment
from arc2face_training.common.checkpoint import save_torch
from arc2face_training.common.errors import TrainingError
from arc2face_training.pipeline import Plan, main, read_plan, run_pipeline
from scripts.checkout import python_path

ROOT = Path(__file__).resolve().parents[1]
TOY = """
recipe: people-cpu
data:
  eval: {people: 2, per_person: 2, first: 1, size: 64, normals: false}
  ids: {people: 40, per_person: 1, first: 20, size: 64, normals: false}
stages:
  - {name: eval, render: eval}
  - {name: ids-32, render: ids, people: 32}
  - name: recogniser
    train: recogniser
    after: [eval, ids-32]
    settings: ["data=[${PEOPLE}/ids]", "widths=[8,8,8,8]", loop.steps=2, loop.batch_size=4, loop.log_every=1]
  - {name: ids, render: ids, after: [recogniser]}
"""


def environment(**more: str) -> dict[str, str]:
    """This process's, with the project on the path."""
    path = python_path(after=os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def toy(tmp_path: Path, text: str = TOY) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text.replace("${PEOPLE}", str(tmp_path / "state")))
    return path


def checkpoint(plan: Plan, component: str, step: int, length: int) -> None:
    folder = plan.state / "runs" / component
    folder.mkdir(parents=True, exist_ok=True)
    save_torch({"settings": {"loop": {"steps": length}}, "step": step}, folder / "checkpoint.pt")


def shards(plan: Plan, name: str, count: int) -> None:
    folder = plan.state / name / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        (folder / f"{k:05d}.npz").touch()


def test_stages_follow_their_needs_and_places(tmp_path: Path) -> None:
    plan = read_plan("people-cpu", tmp_path)
    first = plan.next(set())
    assert first is not None and first.name == "eval"
    second = plan.next({first.place})
    assert second is not None and second.name == "train-begun"
    shards(plan, "eval", 4)
    shards(plan, "train", 1)
    shards(plan, "ids", 16)
    begun = plan.next(set())
    assert begun is not None and begun.name == "recogniser-begun"
    beside = plan.next({begun.place})
    assert beside is not None and beside.render == "ids"
    checkpoint(plan, "recogniser", 400, 6000)
    assert plan.done(begun) and plan.steps("recogniser") == (400, 6000)


def test_a_run_is_done_when_its_last_step_is_exported(tmp_path: Path) -> None:
    plan = read_plan("people-cpu", tmp_path)
    stage = next(stage for stage in plan.stages if stage.name == "detector")
    checkpoint(plan, "detector", 100, 2500)
    plan.ended(stage, 0)
    assert not plan.done(stage)
    checkpoint(plan, "detector", 2500, 2500)
    assert not plan.done(stage)  # killed before the export, it would be missing
    plan.ended(stage, 0)
    assert plan.done(stage)


def test_the_loras_of_two_releases_are_runs_of_their_own(tmp_path: Path) -> None:
    plan = read_plan("people-cpu", tmp_path)
    early, late = (next(s for s in plan.stages if s.name == name) for name in ("lcm-6000", "lcm"))
    assert early.place != late.place
    assert str(tmp_path / "runs" / "lcm-6000") in plan.command(early, 60)


def test_a_stage_that_keeps_failing_is_left(tmp_path: Path) -> None:
    plan = read_plan("people-cpu", tmp_path)
    stage = plan.stages[0]
    for _ in range(3):
        plan.ended(stage, 1)
    other = plan.next(set())
    assert other is not None and other.name != stage.name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("render: eval}", "render: nothing}", "does not describe"),
        ("train: recogniser", "train: unicorn", "known: recogniser"),
        ("after: [recogniser]", "after: [later]", "not above it"),
        ("recipe: people-cpu", "recipe: people-cpu\nwhirled: 1", "unknown key 'whirled'"),
        ("people: 40", "people: many", "must be a int"),
    ],
)
def test_a_pipeline_that_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        read_plan(str(toy(tmp_path, TOY.replace(old, new))), tmp_path)


def test_the_status_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", str(tmp_path), "--status"]) == 0
    assert "to do  recogniser: step 0 of 0" in capsys.readouterr().out


@pytest.mark.people
def test_a_killed_pipeline_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "arc2face_training.pipeline",
        "--config",
        str(toy(tmp_path)),
        "--state",
        str(state),
    ]
    process = subprocess.Popen(command, env=environment())
    while not (state / "ids" / "dataset.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # The piece that outlived its driver still holds the folder; the same command waits for it.
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert (state / "bundle" / "antelopev2" / "arcface.onnx").exists()
    assert (state / "done" / "recogniser.json").exists()
    plan = read_plan(str(tmp_path / "pipeline.yaml"), state)
    assert plan.rendered("ids") == 40 and run_pipeline(plan)


def test_cover_and_grey_change_only_part_of_a_batch() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 3, 20, 20) * 2 - 1
    grey = augment.grey(x, 0.5)
    changed = (grey != x).flatten(1).any(1)
    assert 10 < int(changed.sum()) < 54
    assert torch.allclose(grey[changed][:, 0], grey[changed][:, 2])
    covered = augment.covered(x, 0.5)
    share = (covered != x).any(1).float().mean((1, 2))
    assert 10 < int((share > 0).sum()) < 54 and float(share.max()) < 0.3
