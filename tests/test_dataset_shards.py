"""Shards of a data set: the same bytes whoever draws them, a row for every picture, and checks that find what is wrong.

Run alone: ./run test tests/test_dataset_shards.py
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from arc2face import Engine, GenerationRequest
from arc2face.dataset import manifest
from arc2face.dataset.drawing import LEFT_OUT, Drawer
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.manifest import Row
from arc2face.dataset.parts import Part
from arc2face.dataset.plan import DatasetPlan, Drawing, References
from arc2face.dataset.planning import make_folder, open_set
from arc2face.dataset.references import ReferencePhotos
from arc2face.dataset.running import EngineChoice, run
from arc2face.dataset.schedule import CatalogueEntry, Schedule
from arc2face.dataset.shards import run_shard, write_shard
from arc2face.dataset.status import status
from arc2face.dataset.verify import verify
from arc2face.diffusion.forward import UNetForward
from arc2face.errors import CancelledError, InputError, InvalidNumbersError, MissingWeightsError, SettingsError
from arc2face.pictures.recipes import SOURCE_TYPE, read_recipe
from arc2face.weights.writing import TEMPORARY_PREFIX
from tests.fake_device import fail_in

QUICK = Drawing(fast=True, steps=2, height=64, width=64)
NOWHERE = EngineChoice("nowhere")
STARTER = Path(__file__).resolve().parent.parent / "models" / "starter"


@pytest.fixture(scope="module")
def engine(tiny_tree: Path) -> Iterator[Engine]:
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        yield engine


@pytest.fixture(scope="module")
def starter() -> Iterator[Engine]:
    """The starter models: they draw faces that are found and scored."""
    with Engine.open(STARTER, device="cpu") as engine:
        yield engine


def make(path: Path, people: int = 5, photos: ReferencePhotos | None = None, **fields: Any) -> DatasetFolder:
    vectors = np.random.default_rng(3).standard_normal((people, 512)).astype(np.float32)
    who = Identities(tuple(f"person-{k}" for k in range(people)), vectors, ("made up",) * people)
    fields = {"pictures": 3, "per_shard": 2, "batch": 2, "drawing": QUICK} | fields
    plan = DatasetPlan(people=people, identities_sha256=who.sha256, **fields)
    return make_folder(plan, who, path, photos, side=64)


def drawn(engine: Engine, path: Path, **fields: Any) -> DatasetFolder:
    folder = make(path, **fields)
    run(folder, NOWHERE, engine=engine)
    return folder


def files(folder: DatasetFolder) -> dict[str, str]:
    found = (path for path in folder.root.rglob("*") if path.is_file())
    return {path.relative_to(folder.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def whole(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """Five people of three pictures in three shards; only looked at."""
    return drawn(engine, tmp_path_factory.mktemp("whole") / "faces")


@pytest.fixture
def own(whole: DatasetFolder, tmp_path: Path) -> DatasetFolder:
    """A copy to damage."""
    return DatasetFolder(Path(shutil.copytree(whole.root, tmp_path / "own")))


def test_a_set_is_whole_and_its_consumers_read_it(whole: DatasetFolder) -> None:
    webdataset: Any = importlib.import_module("webdataset")
    found, told = verify(whole), status(whole)
    assert (found.complete, found.pictures, found.rows, found.unfinished, found.notes) == (True, 15, 15, 0, ())
    assert (told.complete, told.pictures, told.failed, told.seconds_left) == (True, 15, 0, 0.0)
    samples = list(webdataset.WebDataset([str(whole.tar(k)) for k in range(3)], shardshuffle=False))
    assert [int(sample["cls"]) for sample in samples] == [k // 3 for k in range(15)]
    rows = list(whole.rows())
    assert [row.key for row in rows] == [sample["__key__"] for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(sample["png"])).convert("RGB"))
        assert pixels.shape == (row.height, row.width, 3) == (64, 64, 3)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == row.pixels_sha256
        recipe = read_recipe(sample["png"])
        assert recipe["settings"]["seed"] == row.seed == json.loads(sample["json"])["seed"]
        assert SOURCE_TYPE.encode() in sample["png"] and row.tries == 1 and row.error is None
    assert len({row.pixels_sha256 for row in rows}) == 15
    table = parquet.read_table(whole.manifest(2))
    assert table.schema.names == list(manifest.COLUMNS) and table.num_rows == 3
    assert set(json.loads(rows[0].models)) == {"unet", "text_encoder", "vae", "lcm"}
    assert json.loads(rows[0].settings)["steps"] == 2


def test_the_same_bytes_whoever_draws_in_whatever_order(engine: Engine, whole: DatasetFolder, tmp_path: Path) -> None:
    """Parts, the last one first, on two threads: nothing depends on who draws or on what was drawn before."""
    folder = make(tmp_path / "faces")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for index in (2, 0, 1):
            done = run(folder, NOWHERE, engine=engine, part=Part(index, 3))
            assert (done.shards, done.drawn) == (1, 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert files(folder) == files(whole)
    plan = open_set(folder).plan
    assert run_shard(engine, plan, 0, folder).drawn is False
    with pytest.raises(InputError, match="another plan"):
        run_shard(engine, open_set(make(tmp_path / "other", seed=1)).plan, 0, folder)


def test_a_person_keeps_their_pictures_wherever_they_stand(
    engine: Engine, whole: DatasetFolder, tmp_path: Path
) -> None:
    who = whole.identities().take([4, 1])
    plan = DatasetPlan(people=2, identities_sha256=who.sha256, pictures=3, batch=2, drawing=QUICK)
    folder = make_folder(plan, who, tmp_path / "faces", side=64)
    run(folder, NOWHERE, engine=engine)
    pixels = {(row.identity, row.picture): row.pixels_sha256 for row in whole.rows()}
    assert all(pixels[row.identity, row.picture] == row.pixels_sha256 for row in folder.rows())


def test_two_writers_of_one_folder_are_harmless(tiny_tree: Path, whole: DatasetFolder, tmp_path: Path) -> None:
    folder = make(tmp_path / "faces")
    choice = EngineChoice(str(tiny_tree / "models"), "cpu")
    together, failures = threading.Barrier(2), list[BaseException]()

    def write() -> None:
        try:
            with choice.open() as engine:
                drawer = Drawer(engine, open_set(folder))
                for shard in range(3):
                    together.wait(60)
                    write_shard(drawer, shard)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and files(folder) == files(whole)


def test_a_stopped_run_leaves_nothing_half_and_goes_on(engine: Engine, whole: DatasetFolder, tmp_path: Path) -> None:
    folder, asked = make(tmp_path / "faces"), list[int]()

    def stop() -> bool:
        asked.append(len(folder.committed()))
        return len(asked) > 6

    with pytest.raises(CancelledError):
        run(folder, NOWHERE, engine=engine, stop=stop)
    there = folder.committed()
    assert 1 <= len(there) < 3 and [p.name for p in folder.shards.iterdir() if p.name[0] == "."] == []
    (folder.shards / "00002.tar").write_bytes(b"a tar without its commit mark")
    assert verify(folder).sound and not verify(folder).complete
    heard = []
    done = run(folder, NOWHERE, engine=engine, on_progress=heard.append)
    assert done.drawn == 3 - len(there) and heard[0].shards == len(there) and heard[-1].seconds_left == 0.0
    assert files(folder) == files(whole)


def test_what_a_dead_writer_left_is_swept_and_a_living_one_keeps(own: DatasetFolder, engine: Engine) -> None:
    """Pitfall C3.10: a killed writer leaves its temporary file."""
    from arc2face.dataset.leftovers import owned

    dead = own.shards / f"{TEMPORARY_PREFIX}dead"
    dead.write_bytes(b"half")
    os.utime(dead, (1_000_000, 1_000_000))
    with owned(own.shards / "other.tar") as living:
        os.utime(living, (1_000_000, 1_000_000))
        assert status(own).unfinished == 2
        run(own, NOWHERE, engine=engine)
        assert living.exists() and not dead.exists()
    (own.shards / "other.tar").unlink()


def test_tries_scores_and_the_best(starter: Engine, tmp_path: Path) -> None:
    """Redraws are recorded; a picture that never reaches the score, or that others beat, is a row with the reason."""
    plain = drawn(starter, tmp_path / "plain", people=2, pictures=2, drawing=Drawing(fast=True, steps=2))
    scores = sorted(row.similarity or -1.0 for row in plain.rows())
    first = {row.key: row for row in plain.rows()}
    fields: dict[str, Any] = {"people": 2, "pictures": 2, "drawing": Drawing(fast=True, steps=2), "max_tries": 3}
    folder = drawn(starter, tmp_path / "faces", min_score=scores[2], **fields)
    rows = list(folder.rows())
    assert len(rows) == 4 and verify(folder).complete
    for row in rows:
        assert 1 <= row.tries <= 3 and row.detector_score is not None
        if (first[row.key].similarity or -1.0) >= scores[2]:
            assert (row.tries, row.pixels_sha256) == (1, first[row.key].pixels_sha256)
        elif row.error is None:
            assert row.tries > 1 and row.similarity is not None and row.similarity >= scores[2]
            assert row.seed != first[row.key].seed
        else:
            assert row.file is None and row.tries == 3 and row.error.startswith("similarity below")
    assert sum(row.tries > 1 for row in rows) == 2
    best = drawn(starter, tmp_path / "best", people=2, pictures=2, drawing=Drawing(fast=True, steps=2), keep_best=1)
    told = status(best)
    assert (told.pictures, told.left_out, told.failed) == (2, 2, 0) and verify(best).complete
    for person in range(2):
        ours = [row for row in best.rows() if row.identity_number == person]
        kept = next(row for row in ours if row.file)
        assert kept.similarity == max(row.similarity or -1.0 for row in ours)
        assert all((row.error or "").startswith(LEFT_OUT) for row in ours if row is not kept)
    # Any picture can be made again from its row.
    row = next(row for row in rows if row.file)
    request = GenerationRequest(
        identity=folder.identities().person(row.identity_number), fast=True, steps=2, seed=row.seed, num_images=1
    )
    again = starter.generate(request).images[0].rgb_u8
    data = next(data for each, data in folder.pictures() if each.key == row.key)
    assert np.abs(again.astype(int) - np.asarray(Image.open(io.BytesIO(data))).astype(int)).max() <= 1


def test_pose_expression_look_and_somebody_to_avoid(starter: Engine, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    photos = ReferencePhotos(("a", "b"), (photo, photo[::-1].copy()))
    talk = CatalogueEntry("talk", (0.0,) * 55, ((52, 0.1, 0.4),))
    folder = drawn(
        starter,
        tmp_path / "faces",
        people=2,
        pictures=2,
        photos=photos,
        schedule=Schedule("random", yaw=(-30.0, 30.0), expressions=(talk,)),
        drawing=Drawing(steps=2, scheduler="euler"),
        references=References(photos.sha256, 2, 0.6),
        negative=tuple(np.random.default_rng(1).standard_normal(512)),
        picture="jpg",
        quality=90,
    )
    rows = list(folder.rows())
    assert verify(folder).complete and all(row.error is None for row in rows)
    assert all(row.file == f"{row.key}.jpg" and row.yaw and abs(row.yaw) <= 30 and row.pitch == 0 for row in rows)
    assert all(row.expression_name == "talk" and row.expression and 0.1 <= row.expression[52] <= 0.4 for row in rows)
    assert {"pose", "expression", "reference", "recogniser", "detector"} < set(json.loads(rows[0].models))
    data = next(data for _, data in folder.pictures())
    assert SOURCE_TYPE.encode() in data and Image.open(io.BytesIO(data)).format == "JPEG"


def test_a_picture_that_fails_is_a_row_with_the_reason(engine: Engine, tmp_path: Path) -> None:
    folder, calls = make(tmp_path / "faces", people=2, batch=1), list[int]()
    error = InvalidNumbersError("The denoiser made invalid numbers (NaN); nothing was kept.")
    with fail_in(UNetForward, lambda module, args: calls.append(1) or len(calls) == 3, error):  # the second picture
        run(folder, NOWHERE, engine=engine)
    rows = list(folder.rows())
    failed = [row for row in rows if row.error is not None]
    assert len(rows) == 6 and [row.key for row in failed] == ["0000000_0001"]
    assert (failed[0].error, failed[0].file, failed[0].tries) == (str(error), None, 0)
    assert verify(folder).complete and status(folder).failed == 1


def test_what_the_models_cannot_do_is_said_first(
    engine: Engine, starter: Engine, own: DatasetFolder, tmp_path: Path
) -> None:
    with pytest.raises(MissingWeightsError, match="need the face detector"):
        run(make(tmp_path / "scored", min_score=0.5), NOWHERE, engine=engine)
    foreign = Identities(("a",), np.ones((1, 512)), ("",), "b" * 64)
    plan = DatasetPlan(people=1, identities_sha256=foreign.sha256)
    with pytest.raises(InputError, match="made by another recogniser"):
        run(make_folder(plan, foreign, tmp_path / "foreign", side=64), NOWHERE, engine=starter)
    own.manifest(2).unlink()
    with pytest.raises(InputError, match="drawn by other model files"):
        run(own, NOWHERE, engine=starter)
    assert own.committed() == [0, 1]


def rewritten(path: Path, change: Any) -> None:
    """A tar with other members: `change` maps a list of (name, data) to another."""
    with tarfile.open(path) as tar:
        members = [(each.name, tar.extractfile(each).read()) for each in tar]
    with tarfile.open(path, "w") as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def with_rows(folder: DatasetFolder, change: Any) -> None:
    path = folder.manifest(1)
    facts, rows = manifest.read_facts(path), manifest.read(path)
    manifest.write(path, change(rows), facts)


def other(row: Row, **fields: Any) -> Row:
    import dataclasses

    return dataclasses.replace(row, **fields)


WRONG: dict[str, tuple[str, Any]] = {
    "a tar is gone": ("unreadable", lambda f: f.tar(1).unlink()),
    "a tar is cut off": ("unreadable", lambda f: os.truncate(f.tar(1), 3000)),
    "a picture is gone": ("lost", lambda f: rewritten(f.tar(1), lambda m: m[3:])),
    "a picture is there twice": ("doubled", lambda f: rewritten(f.tar(1), lambda m: m + m[:1])),
    "a picture too many": ("doubled", lambda f: rewritten(f.tar(1), lambda m: [*m, ("0000009_0000.png", b"x")])),
    "another picture": ("changed", lambda f: rewritten(f.tar(1), lambda m: [(m[0][0], m[3][1]), *m[1:]])),
    "a manifest is damaged": ("unreadable", lambda f: f.manifest(1).write_bytes(b"PAR1")),
    "a row is gone": ("lost", lambda f: with_rows(f, lambda rows: rows[1:])),
    "a row is there twice": ("doubled", lambda f: with_rows(f, lambda rows: [*rows, rows[0]])),
    "another plan": ("mixed", lambda f: with_rows(f, lambda rows: [other(rows[0], plan="0" * 64), *rows[1:]])),
    "another person": ("mixed", lambda f: with_rows(f, lambda rows: [other(rows[0], identity="x"), *rows[1:]])),
    "a hole": ("lost", lambda f: with_rows(f, lambda rows: [other(rows[0], file=None), *rows[1:]])),
}


@pytest.mark.parametrize("name", WRONG)
def test_verify_finds_what_is_wrong(own: DatasetFolder, name: str) -> None:
    kind, damage = WRONG[name]
    damage(own)
    found = verify(own)
    assert not found.sound and {fault.kind for fault in found.faults} >= {kind}
    assert {fault.shard for fault in found.faults} == {1} and found.shards == 2


def test_repair_removes_what_is_wrong_and_the_next_run_draws_it_again(
    engine: Engine, own: DatasetFolder, whole: DatasetFolder
) -> None:
    os.truncate(own.tar(1), 3000)
    (own.shards / "notes.txt").write_text("mine")
    found = verify(own, repair=True)
    assert {Path(path).name for path in found.removed} == {"00001.parquet", "00001.tar"}
    assert [fault.kind for fault in found.faults] == ["foreign", "unreadable"]
    (own.shards / "notes.txt").unlink()
    assert run(own, NOWHERE, engine=engine).drawn == 1
    assert files(own) == files(whole) and verify(own).digest == verify(whole).digest


def test_shards_of_other_models_are_told(own: DatasetFolder) -> None:
    models = json.dumps({"unet": "0" * 64})
    with_rows(own, lambda rows: [other(row, models=models) for row in rows])
    found = verify(own)
    assert [(fault.kind, fault.shard) for fault in found.faults] == [("mixed", None)]
    gpu = json.dumps({"device": "cuda", "dtype": "fp16"})
    with_rows(own, lambda rows: [other(row, settings=gpu) for row in rows])
    assert any("several kinds of device (2 on cpu in fp32, 1 on cuda in fp16)" in note for note in verify(own).notes)


def test_status_reads_a_share_that_cannot_be_written(own: DatasetFolder) -> None:
    own.manifest(2).unlink()
    own.manifest(1).write_bytes(b"")
    for path in (own.shards, own.root):
        path.chmod(0o555)
    try:
        found = status(own)
    finally:
        for path in (own.root, own.shards):
            path.chmod(0o755)
    assert (found.shards, found.shards_total, found.pictures, len(found.unreadable)) == (1, 3, 6, 1)
    assert found.bytes == own.tar(0).stat().st_size and found.bytes_left == 2 * found.bytes and not found.complete


def test_a_second_recogniser_compares_the_pictures_of_a_person(starter: Engine, tmp_path: Path) -> None:
    """14.1: the second score is that of an independent network; pixels and first scores stay what they are."""
    import onnx

    net = onnx.load(STARTER / "antelopev2" / "arcface.onnx")
    net.doc_string = "another file of the same network, which is enough to compare numbers"
    onnx.save(net, tmp_path / "judge.onnx")
    first = next(path for path in (STARTER / "antelopev2").glob("arcface.onnx"))
    whole = Drawing(fast=True, steps=4)  # at the models' own size: in smaller pictures no face is found
    alone = make(tmp_path / "alone", people=2, drawing=whole)
    run(alone, NOWHERE, engine=starter)
    judged = make(tmp_path / "judged", people=2, drawing=whole)
    run(judged, EngineChoice("nowhere", judge=str(tmp_path / "judge.onnx")), engine=starter)
    for row, other in zip(judged.rows(), alone.rows(), strict=True):
        assert (row.pixels_sha256, row.similarity) == (other.pixels_sha256, other.similarity)
        assert other.second_similarity is None and json.loads(row.models)["judge"]
    rows = [row for row in judged.rows() if row.identity_number == 0]
    units = []
    with tarfile.open(judged.tar(0)) as archive:
        for row in rows:
            assert row.file is not None
            member = archive.extractfile(row.file)
            assert member is not None
            rgb = np.asarray(Image.open(io.BytesIO(member.read())).convert("RGB"))
            faces = starter.faces.detect(rgb, turns=False)
            vector = starter.faces.embed(rgb, faces[0]).vector
            units.append(vector / np.linalg.norm(vector))
    rest = units[1] + units[2]
    assert rows[0].second_similarity == pytest.approx(float(rest @ units[0] / np.linalg.norm(rest)), abs=1e-3)
    with pytest.raises(SettingsError, match="no independent judge"):
        run(make(tmp_path / "same", people=1), EngineChoice("nowhere", judge=str(first)), engine=starter)
