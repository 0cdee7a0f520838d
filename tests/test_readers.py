"""Photo readers: off the generation queue, and taking pictures in every form people have them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.errors import CancelledError, EmbeddingError, ImageError, SettingsError
from arc2face.faces.photo import Photo
from arc2face.faces.search import weight
from arc2face.faces.turns import turn_points
from tests.reading_folder import write_reading_folder
from tests.tiny_faces import blank, draw_face

ANNA = IdentityEmbedding(np.random.default_rng(11).standard_normal(512).astype(np.float32))
QUICK = GenerationRequest(identity=ANNA, num_images=1, steps=2, score=False, height=64, width=64)
LIMIT = 120  # seconds after which a hang is a failure; nothing here is measured


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reading_folder(tmp_path_factory.mktemp("readers") / "tiny")


@pytest.fixture(scope="module")
def engine(models: Path) -> Iterator[Engine]:
    with Engine.open(models, device="cpu") as engine:
        yield engine


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    picture = blank(300, 300)
    draw_face(picture, 150, 150, 60)
    return picture


@contextmanager
def held_step(engine: Engine) -> Iterator[threading.Event]:
    """Hold the next denoising step in the middle; the event it yields says that a run is inside."""
    inside, go_on = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        inside.set()
        assert go_on.wait(LIMIT)

    engine.preload()
    hook = engine.registry.part("unet").conv_in.register_forward_pre_hook(hold)
    try:
        yield inside
    finally:
        go_on.set()
        hook.remove()


def test_readers_do_not_wait_for_a_generation(engine: Engine, portrait: np.ndarray) -> None:
    """B5: with a run held in the middle of a step, photos are read, previews drawn and waiting runs stopped."""
    alone = engine.generate(QUICK).images[0].rgb_u8
    expected = engine.normal_map(20, 0, 0, size=64)
    tasks: dict[str, Callable[[], Any]] = {
        "detect": lambda: engine.faces.detect(portrait),
        "identify": lambda: engine.identify(portrait),
        "align": lambda: engine.align(portrait),
        "expression": lambda: engine.read_expression(portrait),
        "preview": lambda: engine.normal_map(20, 0, 0, size=64),
    }
    with held_step(engine) as inside, ThreadPoolExecutor(1) as pool:
        job = engine.submit(QUICK)
        assert inside.wait(LIMIT)
        answers = {name: pool.submit(task).result(LIMIT) for name, task in tasks.items()}
        waiting = engine.submit(QUICK)
        waiting.cancel()
        with pytest.raises(CancelledError):
            waiting.result(LIMIT)
        assert not job.done
    assert np.array_equal(answers["preview"], expected)
    assert len(answers["detect"]) == 1
    assert np.array_equal(job.result(LIMIT).images[0].rgb_u8, alone)


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def test_photos_in_every_form(
    engine: Engine, portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2: a path, ~, bytes, BytesIO, a Pillow image, grey, RGBA, float and 16-bit arrays; one photo or several."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "Foto 写真.png"
    path.write_bytes(jpeg(portrait))
    expected = engine.identify([portrait]).identity.vector
    alpha = np.dstack([portrait, np.full(portrait.shape[:2], 255, np.uint8)])
    sources: list[Any] = [
        portrait,
        str(path),
        path,
        "~/Foto 写真.png",
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        Image.open(path),
        alpha,
        portrait / 255.0,
        portrait.astype(np.uint16) * 257,
        portrait[None],
        (path,),
        Photo(path),
    ]
    for source in sources:
        assert np.array_equal(engine.identify(source).identity.vector, expected), type(source)
    with path.open("rb") as stream:
        assert np.array_equal(engine.identify(stream).identity.vector, expected)
    assert engine.align(path).shape == engine.align(Image.open(path)).shape
    assert np.array_equal(engine.read_expression(str(path)).values, engine.read_expression(portrait).values)
    assert len(engine.faces.detect(path)) == 1


@pytest.mark.parametrize("source", [None, 7, {"a": 1}, "", "no such file.png", b"", io.StringIO("text"), [None], 1.5])
def test_what_is_no_photo_is_said(engine: Engine, source: Any) -> None:
    """C2: never a bare TypeError."""
    with pytest.raises((ImageError, EmbeddingError)):
        engine.identify(source)


def test_no_photos_and_too_many_picks(engine: Engine, portrait: np.ndarray) -> None:
    with pytest.raises(EmbeddingError):
        engine.identify([])
    with pytest.raises(SettingsError):
        engine.identify([portrait], picks=[0, 0])
    with pytest.raises(SettingsError):
        engine.identify(portrait, picks=1)
    with pytest.raises(SettingsError):
        engine.generate("a request")  # type: ignore[arg-type]


def test_a_grey_photo_is_a_photo(engine: Engine) -> None:
    """C2: two dimensions are a picture; no face in it is said as such."""
    from arc2face.errors import NoFaceError

    with pytest.raises(NoFaceError):
        engine.identify(np.full((200, 200), 90, np.uint8))


class _Starter:
    """The starter bundle's own networks, which know one way up only."""

    @pytest.fixture(scope="class")
    def starter(self, project_root: Path) -> Iterator[Engine]:
        folder = project_root / "models" / "starter"
        if not (folder / "antelopev2" / "arcface.onnx").is_file():
            pytest.skip("no starter bundle")
        with Engine.open(folder, device="cpu") as engine:
            yield engine


class TestStarterFaces(_Starter):
    def test_a_sideways_photo_is_the_same_person(self, starter: Engine, project_root: Path) -> None:
        """C6: a photo on its side without EXIF."""
        cases = project_root / "tests" / "data" / "cases"
        upright = starter.identify(cases / "person.png").identity
        turned = starter.identify(cases / "rot90.png").identity
        assert turned.cosine(upright) > 0.95
        points, sideways = (starter.landmarks(cases / name) for name in ("person.png", "rot90.png"))
        assert min(np.abs(turn_points(sideways, k, (384, 384)) - points).max() for k in (1, 3)) < 2
        expressions = [starter.read_expression(cases / name).values for name in ("person.png", "rot90.png")]
        assert np.abs(expressions[0] - expressions[1]).max() < 0.01

    def test_a_small_face_on_a_large_photo_gets_a_second_look(self, starter: Engine, project_root: Path) -> None:
        """C6: 384 pixels on 6000 x 4500 gave another person."""
        person = Image.open(project_root / "tests" / "data" / "cases" / "person.png").convert("RGB")
        alone = starter.identify(person).identity
        for size, least in (((6000, 4500), 0.9), ((1600, 1200), 0.9)):
            large = Image.new("RGB", size, (90, 110, 120))
            large.paste(person, ((size[0] - 384) // 2, (size[1] - 384) // 2))
            assert starter.identify(large).identity.cosine(alone) > least

    def test_one_portrait_is_one_face(self, starter: Engine) -> None:
        """C7, F10: a detector that knows drawings only saw fourteen people in this photograph."""
        from skimage import data

        faces = starter.faces.detect(data.astronaut())
        assert len(faces) == 1
        assert faces[0].box[0] < 225 < faces[0].box[2] and faces[0].box[1] < 110 < faces[0].box[3]
        assert weight(faces[0]) > 1000
