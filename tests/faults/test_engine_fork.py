"""Other processes: a forked child works or says at once why not; a spawned one opens its own engine."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from arc2face import Engine
from arc2face.errors import DeviceError, InputError
from arc2face.types import Runtime
from tests.faults.conftest import Start
from tests.reading_folder import write_reading_folder

LIMIT = 240
COMMON = """
import multiprocessing, sys, threading, time
import numpy as np
from arc2face import Engine, GenerationRequest, IdentityEmbedding
from tests.tiny_faces import blank, draw_face

person = IdentityEmbedding(np.random.default_rng(3).standard_normal(512).astype(np.float32))
quick = GenerationRequest(identity=person, num_images=1, steps=2, score=True, height=64, width=64)
photo = blank(300, 300)
draw_face(photo, 150, 150, 60)
"""
FORK = (
    COMMON
    + """
def everything(engine):
    return (
        engine.generate(quick).images[0].rgb_u8.tobytes(),
        engine.identify(photo).identity.vector.tobytes(),
        engine.read_expression(photo).values.tobytes(),
        engine.normal_map(10, 0, 0, size=64).tobytes(),
        len(engine.status()),
    )

def child(queue, engine):
    queue.put(everything(engine))

def abandoned(queue, job):
    try:
        job.result(60)
    except Exception as error:
        queue.put(f"{type(error).__name__}: {error}")

def in_child(target, *arguments):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=target, args=(queue, *arguments))
    process.start()
    answer = queue.get(timeout=200)
    process.join(60)
    assert process.exitcode == 0, process.exitcode
    return answer

engine = Engine.open(sys.argv[1], device="cpu")
before = in_child(child, engine)
expected = everything(engine)
assert before == expected, "forked before the engine was used"
assert in_child(child, engine) == expected, "forked after the engine was used"

inside, go_on = threading.Event(), threading.Event()
def hold(*_):
    inside.set()
    go_on.wait()
hook = engine.registry.part("unet").conv_in.register_forward_pre_hook(hold)
job = engine.submit(quick.with_(fast=True, guidance_scale=1.0))
inside.wait()
go_on_in_child = go_on
def child_in_a_run(queue, engine):
    queue.put((engine.worker.cut_off, everything(engine)))
assert in_child(child_in_a_run, engine) == (True, expected), "forked in the middle of a run"
print(in_child(abandoned, job))
go_on.set()
job.result(100)
hook.remove()
assert everything(engine) == expected, "the parent afterwards"
engine.close()
print("done")
"""
)
SPAWN = (
    COMMON
    + """
def own_engine(folder):
    with Engine.open(folder, device="cpu") as engine:
        return engine.generate(quick).images[0].rgb_u8

if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    with Engine.open(sys.argv[1], device="cpu") as engine:
        expected = engine.generate(quick).images[0].rgb_u8
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert np.array_equal(pool.submit(own_engine, sys.argv[1]).result(200), expected)
    print("done")
"""
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reading_folder(tmp_path_factory.mktemp("fork") / "tiny")


def test_a_forked_child_makes_the_same(start: Start, models: Path) -> None:
    """B4: before and after the engine was used, and in the middle of a run."""
    process = start(FORK, models)
    output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    lines = output.splitlines()
    assert lines[0].startswith("CancelledError: This request runs in the process that was forked")
    assert lines[-1] == "done"


def test_a_spawned_child_opens_its_own(start: Start, models: Path, tmp_path: Path) -> None:
    """B4: spawn needs the script in a file."""
    script = tmp_path / "spawn.py"
    script.write_text(SPAWN)
    runner = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    process = start(runner, script, models)
    output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (0, "done\n"), errors


def test_an_engine_cannot_be_pickled(tiny_tree: Path) -> None:
    with Engine.open(tiny_tree / "models", device="cpu") as engine, pytest.raises(InputError, match="open one there"):
        pickle.dumps(engine)


def test_an_accelerator_does_not_survive_a_fork(tiny_tree: Path) -> None:
    """B4: said at once, on every way that would use the device."""
    from tests.test_jobs import REQUEST

    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        engine.after_fork()
        engine.runtime = Runtime("cuda", "fp16")
        calls = (lambda: engine.submit(REQUEST), lambda: engine.normal_map(0, 0, 0))
        for call in calls:
            with pytest.raises(DeviceError, match="spawn"):
                call()
