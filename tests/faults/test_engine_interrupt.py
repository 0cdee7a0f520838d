"""A run that is interrupted, closed or broken off: finished pictures stay, and nothing goes on behind one's back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arc2face import Engine, GenerationRequest, IdentityEmbedding, load_rgb_u8
from arc2face.errors import CancelledError, InputError
from arc2face.faces.analyser import FaceAnalyser
from arc2face.types import GenerationResult, Progress
from tests.faults.conftest import Start
from tests.tiny_faces import write_antelopev2

ANNA = IdentityEmbedding(np.random.default_rng(11).standard_normal(512).astype(np.float32))
QUICK = GenerationRequest(identity=ANNA, num_images=1, steps=2, score=False, height=64, width=64)
LONG = QUICK.with_(steps=100)
LIMIT = 120

SCRIPT = """
import signal, sys
import numpy as np
from arc2face import Engine, GenerationRequest, IdentityEmbedding, save_png

def stop(*_):
    raise SystemExit(143)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background inherit "ignored"
person = IdentityEmbedding(np.ones(512, np.float32))
quick = GenerationRequest(identity=person, num_images=1, steps=2, score=False, height=64, width=64)
engine = Engine.open(sys.argv[1], device="cpu")
first = engine.generate(quick)
save_png(first.images[0], first, "first.png")

def watch(progress):
    if progress.stage == "denoising" and progress.step == 2:
        print("running", flush=True)

try:
    for seed in range(1000):  # for as long as it takes the signal to come
        engine.generate(quick.with_(steps=100, seed=seed), watch)
except KeyboardInterrupt:
    again = engine.generate(quick)
    assert np.array_equal(again.images[0].rgb_u8, first.images[0].rgb_u8)
    print("interrupted", flush=True)
    sys.exit(130)
"""


@pytest.fixture
def engine(tiny_tree: Path) -> Iterator[Engine]:
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        yield engine


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_cleanly(
    start: Start, tiny_tree: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """B3: the program ends at once and in order; what was saved is whole and nothing else lies about."""
    process = start(SCRIPT, tiny_tree / "models")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == code, errors
    assert errors == ""
    assert ("interrupted" in output) == (code == 130)
    assert [path.name for path in tmp_path.iterdir()] == ["first.png"]
    assert load_rgb_u8(tmp_path / "first.png").shape == (64, 64, 3)


def steps_of(engine: Engine) -> list[int]:
    """Counts the UNet's calls from now on."""
    engine.preload()
    calls: list[int] = []
    engine.registry.part("unet").conv_in.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failing_callback_stops_the_run(engine: Engine, error: BaseException) -> None:
    """B3: the run does not go on for nobody."""
    calls = steps_of(engine)

    def fail(progress: Progress) -> None:
        if progress.stage == "denoising":
            raise error

    with pytest.raises(type(error)):
        engine.generate(LONG, fail)
    engine.generate(QUICK)
    assert 0 < len(calls) < LONG.steps  # pyright: ignore[reportOperatorIssue]


def test_an_error_in_a_batch_stops_the_rest(engine: Engine) -> None:
    calls = steps_of(engine)
    broken = QUICK.with_(noise=np.zeros((1, 4, 1, 1), np.float32))
    with pytest.raises(InputError):
        engine.generate_batch([broken, LONG, LONG])
    engine.generate(QUICK)
    assert 0 < len(calls) < 2 * LONG.steps  # pyright: ignore[reportOperatorIssue]
    finished: list[GenerationResult] = []
    with pytest.raises(InputError):
        engine.generate_batch([QUICK, broken, LONG], finished)
    assert len(finished) == 1
    assert np.array_equal(finished[0].images[0].rgb_u8, engine.generate(QUICK).images[0].rgb_u8)


def test_closing_in_a_run_ends_every_result(tiny_tree: Path) -> None:
    """B3: result() never waits for ever."""
    engine = Engine.open(tiny_tree / "models", device="cpu")
    jobs = [engine.submit(LONG) for _ in range(3)]
    next(event for event in jobs[0].events() if event.stage == "denoising")
    waiter = threading.Thread(target=lambda: list(jobs[2].events()))
    waiter.start()
    engine.close()
    engine.close()
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result(LIMIT)
    waiter.join(LIMIT)
    assert not waiter.is_alive()
    with pytest.raises(CancelledError, match="closed"):
        engine.submit(QUICK)
    with pytest.raises(CancelledError, match="closed"):
        engine.normal_map(0, 0, 0)


def test_the_with_statement_closes(tiny_tree: Path) -> None:
    """C2: `with Engine.open() as engine`."""
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        assert engine.generate(QUICK).images
    with pytest.raises(CancelledError):
        engine.submit(QUICK)


def test_a_program_that_just_ends_in_a_run_ends_cleanly(start: Start, tiny_tree: Path) -> None:
    script = SCRIPT.split("def watch")[0] + "job = engine.submit(quick.with_(steps=100))\nnext(job.events())\n"
    process = start(script, tiny_tree / "models")
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, "")


def test_a_failing_score_loses_no_picture(tiny_copy: Path) -> None:
    """A2: a recogniser that fails at run time, on some pictures or on all, costs the score and nothing else."""
    write_antelopev2(tiny_copy / "models" / "antelopev2")
    (tiny_copy / "models" / "antelopev2" / "arcface.onnx").write_bytes(b"not a network")
    (tiny_copy / "models" / "antelopev2" / "scrfd_10g_bnkps.onnx").write_bytes(b"nor this")
    with Engine.open(tiny_copy / "models", device="cpu") as engine:
        plain = engine.generate(QUICK.with_(num_images=3)).images
        scored = engine.generate(QUICK.with_(num_images=3, score=True, keep_best=1)).images
    assert [image.seed for image in scored] == [0, 1, 2]  # nobody knows which is the best
    assert all(image.similarity is None for image in scored)
    assert all(np.array_equal(a.rgb_u8, b.rgb_u8) for a, b in zip(plain, scored, strict=True))


def test_a_score_that_fails_for_one_picture_is_missing_for_that_one(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2: any kind of error, per picture."""
    real, seen = FaceAnalyser.embed, []

    def sometimes(self: FaceAnalyser, image: object, face: object) -> object:
        seen.append(image)
        if len(seen) == 2:
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION")
        return real(self, image, face)  # type: ignore[arg-type]

    use_tiny_faces(engine, tmp_path)
    monkeypatch.setattr(FaceAnalyser, "embed", sometimes)
    images = engine.generate(QUICK.with_(num_images=3, score=True, keep_best=2)).images
    assert [image.seed for image in images] == [0, 1, 2]
    assert [image.similarity is None for image in images] == [False, True, False]


def use_tiny_faces(engine: Engine, folder: Path) -> None:
    """The tiny models have no face networks of their own."""
    engine.perception._faces = FaceAnalyser.from_folder(write_antelopev2(folder / "antelopev2"))
