"""The report of a data set, from manifests alone and with readers, on a tiny set written by hand."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arc2face.dataset import manifest, tars
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.manifest import Facts, Row
from arc2face.dataset.plan import DatasetPlan
from arc2face.dataset.planning import make_folder
from arc2face.dataset.report import read_dataset, report
from arc2face.engine import Engine
from arc2face.errors import InputError
from arc2face.evaluation import Protocol, evaluate
from arc2face.readers import Perception
from arc2face_app.cli import main
from tests.conftest import PROJECT
from tests.measured_faces import PEOPLE, paint, readers, write_models

QUICK = Protocol(replicates=30, pose=False, expression=False)
STARTER = PROJECT / "models" / "starter"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def perception(models: Path) -> Iterator[Perception]:
    yield from readers(models)


def add_shard(home: DatasetFolder, plan: DatasetPlan, shard: int, rows: list[tuple[Row, bytes | None]]) -> None:
    home.shards.mkdir(exist_ok=True)
    with tarfile.open(home.tar(shard), "w") as tar:
        for row, data in rows:
            if data is not None:
                entry = tarfile.TarInfo(str(row.file))
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    made = sum(data is not None for _, data in rows)
    facts = Facts(plan.sha256, shard, len(rows), made, 0, len(rows) - made, home.tar(shard).stat().st_size, "0" * 64)
    manifest.write(home.manifest(shard), [row for row, _ in rows], facts)


def picture(tmp: Path, person: str, seed: int) -> bytes:
    return paint(tmp / "one.png", person, seed).read_bytes()


@pytest.fixture
def dataset(tmp_path: Path, perception: Perception) -> DatasetFolder:
    """Four people, two pictures each, in two shards; one row has no picture, one picture nobody's face."""
    people: list[Any] = []
    for k, name in enumerate(PEOPLE):
        rgb = np.asarray(Image.open(paint(tmp_path / f"{name}.png", name, k)))
        people.append((name, perception.embed(rgb), f"{name}.png"))
    identities = Identities.of(people)
    plan = DatasetPlan(people=4, identities_sha256=identities.sha256, pictures=2, per_shard=2)
    home = make_folder(plan, identities, tmp_path / "faces")
    for shard in (0, 1):
        rows: list[tuple[Row, bytes | None]] = []
        for number in (2 * shard, 2 * shard + 1):
            name = list(PEOPLE)[number]
            for n in (0, 1):
                lost = (number, n) == (3, 1)
                key = f"{number:07d}_{n:04d}"
                row = Row(
                    key=key, identity=name, identity_number=number, picture=n, seed=number * 10 + n,
                    tries=3 if lost else 1, yaw=20.0 * n, pitch=0.0, roll=0.0, expression_name="neutral",
                    expression=[0.0] * 55,
                    similarity=0.3 if lost else 0.9 - 0.05 * number - 0.01 * n, detector_score=None if lost else 0.9,
                    file=None if lost else f"{key}.png", width=0 if lost else 160, height=0 if lost else 160,
                    bytes=0 if lost else 9, pixels_sha256="" if lost else f"{number}{n}".ljust(64, "0"),
                    error="similarity below 0.5 in 3 tries" if lost else None, plan=plan.sha256, settings="{}",
                    models="{}", shard=shard,
                )  # fmt: skip
                rows.append((row, None if lost else picture(tmp_path, name, 50 + 10 * number + n)))
        add_shard(home, plan, shard, rows)
    return home


def test_the_report_needs_no_models(dataset: DatasetFolder, tmp_path: Path) -> None:
    real = dataset.identities().take([0, 1])
    against = real.save(tmp_path / "real.npz")
    found = report(dataset.root, against=against, protocol=QUICK).figures
    assert found["progress"]["rows"] == 8 and found["progress"]["pictures"] == 7
    assert found["progress"]["failed"]["value"] == pytest.approx(1 / 8)
    assert found["progress"]["reasons"] == {"similarity below 0.5 in 3 tries": 1}
    assert found["progress"]["tries"]["most"] == 3 and found["progress"]["tries"]["drawn_again"] == 1
    kept = [0.9 - 0.05 * number - 0.01 * n for number in range(4) for n in (0, 1)][:7]
    assert found["likeness"]["asked_and_got"]["value"] == pytest.approx(np.mean(kept), abs=1e-6)
    assert found["likeness"]["asked_and_got_all_rows"]["value"] == pytest.approx(np.mean([*kept, 0.3]), abs=1e-6)
    assert found["likeness"]["one_person_independent"]["value"] is None
    assert found["separation"]["all_pairs"]["pairs"] == 6
    assert found["separation"]["real_people"]["most"] == pytest.approx(1.0, abs=1e-6)
    assert found["asked"]["pose"]["yaw"]["most"] == 20.0
    assert found["asked"]["expression_names"] == {"neutral": 8}
    folder = dataset.report
    assert json.loads((folder / "report.json").read_text())["progress"]["pictures"] == 7
    text = (folder / "report.md").read_text()
    assert "similarity below 0.5 in 3 tries | 1" in text and "](contact_sheet.png)" in text
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.width > 7 * 128 and sheet.height > 3 * 128
    assert {path.name for path in folder.glob("*.png")} == {"contact_sheet.png", "likeness.png", "coverage.png"}


def test_readers_look_at_the_pictures_too(dataset: DatasetFolder, perception: Perception, tmp_path: Path) -> None:
    found = report(dataset.root, out=tmp_path / "out", perception=perception, protocol=QUICK).figures["measured"]
    assert found["set"]["drawn"] == 8 and found["faces"]["no_picture"]["pictures"] == 1
    assert found["likeness"]["recogniser"]["to_asked"]["pictures"] == 7
    assert found["likeness"]["recogniser"]["first_rank_asked"]["value"] == 1.0
    assert found["leakage"]["asked_of_others"]["nearest"]["pictures"] == 7
    assert "pictures/report.md" in (tmp_path / "out" / "report.md").read_text()


def test_a_data_set_is_a_set_to_measure(dataset: DatasetFolder) -> None:
    faces = read_dataset(dataset.root)
    assert len(faces.samples) == 8 and faces.people == tuple(PEOPLE)
    first, last = faces.samples[1], faces.samples[-1]
    assert first.asked is not None and first.asked.pose == (20.0, 0.0, 0.0)
    assert first.open is not None and Image.open(io.BytesIO(first.open())).size == (160, 160)  # type: ignore[arg-type]
    assert last.open is None and last.asked is not None and "below 0.5" in str(last.asked.error)


def test_unfinished_damaged_and_absent_sets(dataset: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no data set"):
        report(tmp_path)
    with pytest.raises(InputError, match="lacks nobody"):
        tars.member(dataset.tar(0), "nobody.png")
    dataset.tar(1).write_bytes(dataset.tar(1).read_bytes()[:700])
    with pytest.raises(InputError, match=r"verify|cut off"):
        report(dataset.root, protocol=QUICK)
    for shard in (0, 1):
        dataset.manifest(shard).unlink()
    with pytest.raises(InputError, match="no shard is finished"):
        report(dataset.root)


def test_the_command_measures_a_data_set(
    dataset: DatasetFolder,
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["evaluate", "photos", str(dataset.root), "--suite", "dataset", "--replicates", "20", "-o"]
    assert main([*words, str(tmp_path / "run"), "--models", str(models), "--device", "cpu"]) == 0
    assert "no face drawn" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.md").is_file()


@pytest.fixture(scope="module")
def starter() -> Iterator[Engine]:
    with Engine.open(STARTER, device="cpu") as engine:
        yield engine


def test_poses_are_read_as_the_full_reader_reads_them(starter: Engine) -> None:
    """Without a normal map it takes a fraction of the time; both say the same of an upright face."""
    photo = PROJECT / "tests" / "data" / "cases" / "person.png"
    yaw, pitch, roll = starter.perception.read_angles(photo)
    full = starter.read_pose(photo, photo)
    assert abs(yaw - full.yaw) < 8 and abs(pitch - full.pitch) < 8 and abs(roll - full.roll) < 8


def test_poses_and_expressions_of_photos(starter: Engine, tmp_path: Path) -> None:
    from arc2face.evaluation import read_set

    (tmp_path / "set" / "anna").mkdir(parents=True)
    shutil.copy(PROJECT / "tests" / "data" / "cases" / "person.png", tmp_path / "set" / "anna" / "1.png")
    faces, quick = read_set("folder", tmp_path / "set"), Protocol(replicates=10)
    found = evaluate(faces, starter.perception, quick, out=tmp_path / "run", plots=False).figures
    assert found["pose"]["coverage"]["real"]["cells"]["taken"] == 1
    assert found["expression"]["coverage"]["real"]["jaw_open"]["pictures"] == 1
    assert found["about"]["models"].keys() == {"recogniser", "detector", "landmarks", "smirk", "emoca"}
