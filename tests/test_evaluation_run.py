"""A whole evaluation on tiny face networks: faces lost and found, judges, groups, kills, shards, comparison."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from arc2face.errors import IncompatibleWeightsError, InputError, MissingWeightsError, SettingsError
from arc2face.evaluation import Judge, Protocol, compare, evaluate, looking, read_set, state
from arc2face.evaluation.comparison import comparison_text
from arc2face.evaluation.layouts import read_drawn
from arc2face.evaluation.networks import Inception, Lpips
from arc2face.evaluation.run import Networks
from arc2face.evaluation.state import Shard
from arc2face.readers import Perception
from arc2face_app.cli import main
from scripts.checkout import python_path
from tests.conftest import PROJECT
from tests.measured_faces import PEOPLE, paint, readers, write_models
from tests.tiny_faces import write_antelopev2

QUICK = Protocol(replicates=30)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return parquet.read_table(folder / "pictures.parquet").to_pylist()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def perception(models: Path) -> Iterator[Perception]:
    yield from readers(models)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people with four photos each."""
    root = tmp_path_factory.mktemp("photos")
    for k, person in enumerate(PEOPLE):
        for n in range(4):
            paint(root / person / f"{n}.png", person, 100 * k + n)
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two "drawn" pictures each; one of ben's shows nobody."""
    root = tmp_path_factory.mktemp("drawn")
    lines = ["file,person,input"]
    for k, person in enumerate(PEOPLE):
        for n in range(2):
            paint(root / person / f"{n}.png", None if (person, n) == ("ben", 1) else person, 7000 + 10 * k + n)
            lines.append(f"{person}/{n}.png,{person},{person}/0.png")
    (root / "people.csv").write_text("\n".join(lines))
    return root


def test_a_set_from_photos_to_a_report(
    perception: Perception, photos: Path, drawn: Path, models: Path, tmp_path: Path
) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("person,skin\nanna,I\nben,II\ncleo,I\ndora,II\n")
    real = read_set("folder", photos)
    faces = real.joined(read_drawn(drawn, real)).limited(4)
    judge = Judge(models / "judge.onnx")
    report = evaluate(faces, perception, QUICK, out=tmp_path / "run", judge=judge, groups=groups)
    found = report.figures
    real_count = found["set"]["real"]
    assert 16 <= real_count <= 20 and found["set"]["drawn"] == 8  # four of each, and the photo they were drawn from
    # counted, never dropped
    assert found["faces"]["no_face_drawn"]["value"] == pytest.approx(1 / 8)
    assert found["faces"]["no_face_real"]["value"] == 0.0
    assert found["faces"]["reasons"] == {"no face was found": 1}
    assert found["faces"]["examples"] == ["drawn/ben/1.png"]
    assert found["names"]["suspicious"]["pictures"] == 0
    for name in ("recogniser", "judge"):
        part = found["verification"]["real"][name]
        assert part["mated_pairs"] + part["nonmated_pairs"] == real_count * (real_count - 1) // 2
        assert part["mated_mean"]["value"] > part["nonmated_mean"]["value"] + 0.2
        likeness = found["likeness"][name]
        assert likeness["to_input"]["pictures"] == 7 and likeness["to_others"]["pictures"] == 7
        against = likeness["against_photos"]
        assert against["mated_pairs"] + against["nonmated_pairs"] == 7 * real_count - 7  # never with the input photo
        assert likeness["first_rank"]["value"] == 1.0
    assert found["likeness"]["recogniser"]["to_input"]["value"] != found["likeness"]["judge"]["to_input"]["value"]
    # no network, no figure; never zero
    assert found["distribution"]["fid"]["value"] is None and "--inception" in found["distribution"]["fid"]["absent"]
    assert found["diversity"]["drawn"]["lpips"]["value"] is None
    assert found["diversity"]["drawn"]["pixels"]["value"] > 0
    assert "EMOCA" in found["pose"]["coverage"]["real"]["cells"]["absent"]
    assert found["groups"]["skin"]["I"]["people"] == 2
    second = found["groups"]["skin"]["II"]
    assert second["no_face"]["value"] == pytest.approx(1 / second["pictures"])
    assert found["about"]["judge"]["sha256"] == judge.sha256
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == json.loads(json.dumps(found))
    text = (tmp_path / "run" / "report.md").read_text()
    assert "| no face drawn | 0.1250" in text and "](scores.png)" in text and "](groups.png)" in text
    for name in ("scores", "curves", "likeness", "groups"):
        with Image.open(tmp_path / "run" / f"{name}.png") as plot:
            assert plot.size[0] > 600
    rows = rows_of(tmp_path / "run")
    assert len(rows) == real_count + 8 and [row["error"] for row in rows if row["error"]] == ["no face was found"]
    assert rows[-1]["judge_to_input"] is not None and "embedding" not in rows[0]


def test_unreadable_and_turned_pictures(perception: Perception, tmp_path: Path) -> None:
    """A broken file is counted; EXIF says which way is up."""
    root = tmp_path / "set"
    upright = Image.open(paint(tmp_path / "one.png", "anna", 1))
    (root / "anna").mkdir(parents=True)
    (root / "anna" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    (root / "anna" / "empty.png").write_bytes(b"")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.crop((0, 0, 120, 100)).save(root / "anna" / "turned.png", exif=exif)
    report = evaluate(read_set("folder", root), perception, QUICK, out=tmp_path / "run", plots=False)
    assert report.figures["faces"]["no_picture"]["pictures"] == 2
    rows = rows_of(tmp_path / "run")
    assert (rows[2]["width"], rows[2]["height"]) == (100, 120)
    assert rows[2]["error"] is None and rows[0]["detector_score"] is None
    assert "broken.jpg" in rows[0]["error"] and "empty" in rows[1]["error"]


CHILD = """
import os, signal, sys
from pathlib import Path
from arc2face.evaluation import Protocol, evaluate, read_set, state
from arc2face.jobs import DeviceWorker
from arc2face.readers import Perception
from arc2face.types import Runtime
from arc2face.weights.folder import ModelsFolder
models, photos, out = map(Path, sys.argv[1:])
state.BLOCK = 8
readers = Perception(ModelsFolder(models), Runtime("cpu", "fp32"), DeviceWorker(inline=True), inline=True)
evaluate(read_set("folder", photos), readers, Protocol(replicates=30), out=out,
         on_progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_run_goes_on_and_ends_as_shards_do(
    perception: Perception, photos: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 after the first block: what was seen stays, and the report is that of two unbroken shards."""
    monkeypatch.setattr(state, "BLOCK", 8)
    words = [sys.executable, "-c", CHILD, str(models), str(photos), str(tmp_path / "killed")]
    done = subprocess.run(words, cwd=PROJECT, env={**_environment()}, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    looks = tmp_path / "killed" / "state" / "looks"
    first = looks / "000000.npz"
    assert [path.name for path in looks.iterdir()] == ["000000.npz"]
    stamp = first.stat().st_mtime_ns
    (looks / "000001.npz").write_bytes(b"half a file")
    faces = read_set("folder", photos)
    again = evaluate(faces, perception, QUICK, out=tmp_path / "killed", plots=False)
    assert first.stat().st_mtime_ns == stamp

    part = evaluate(faces, perception, QUICK, out=tmp_path / "parts", shard=Shard(1, 2), plots=False)
    assert part.waiting == 1 and not part.figures and not (tmp_path / "parts" / "report.json").exists()
    last = evaluate(faces, perception, QUICK, out=tmp_path / "parts", shard=Shard(0, 2), plots=False)
    assert last.waiting == 0 and last.figures == again.figures
    assert last.figures["verification"]["real"]["recogniser"]["mated_pairs"] == 4 * 6


def test_state_of_another_set_or_other_models_is_refused(
    perception: Perception, photos: Path, models: Path, tmp_path: Path
) -> None:
    faces = read_set("folder", photos).limited(2)
    evaluate(faces, perception, QUICK, out=tmp_path / "run", plots=False)
    with pytest.raises(SettingsError, match="another list of pictures"):
        evaluate(read_set("folder", photos).limited(3), perception, QUICK, out=tmp_path / "run")
    with pytest.raises(SettingsError, match="other models"):
        evaluate(faces, perception, QUICK, out=tmp_path / "run", judge=Judge(models / "judge.onnx"))
    (tmp_path / "run" / "state" / "state.json").write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(faces, perception, QUICK, out=tmp_path / "run")


def test_two_people_in_one_folder_show(perception: Perception, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for n in range(4):
        paint(root / "cleo" / f"{n}.png", "cleo" if n else "ben", n)
        paint(root / "dora" / f"{n}.png", "dora", 40 + n)
    report = evaluate(read_set("folder", root), perception, QUICK, out=tmp_path / "run", plots=False)
    assert report.figures["names"]["suspicious"]["pictures"] == 1
    assert report.figures["names"]["examples"] == ["cleo/0.png"]
    assert "May show somebody else, the first of them: cleo/0.png." in (tmp_path / "run" / "report.md").read_text()


def test_a_judge_must_be_independent_and_a_recogniser(perception: Perception, models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "antelopev2" / "arcface.onnx", tmp_path / "renamed.onnx")
    faces = read_set("folder", paint(tmp_path / "set" / "anna" / "1.png", "anna", 0).parent.parent)
    with pytest.raises(SettingsError, match="no independent judge"):
        evaluate(faces, perception, QUICK, out=tmp_path / "run", judge=Judge(tmp_path / "renamed.onnx"))
    with pytest.raises(IncompatibleWeightsError, match="recogniser"):
        evaluate(faces, perception, QUICK, out=tmp_path / "r2", judge=Judge(models / "antelopev2" / "1k3d68.onnx"))
    with pytest.raises(MissingWeightsError):
        Judge(tmp_path / "gone.onnx")
    with pytest.raises(SettingsError, match="channel order"):
        Judge(tmp_path / "renamed.onnx", order="yuv")


def test_the_judges_channel_order_matters(perception: Perception, models: Path, tmp_path: Path) -> None:
    rgb = np.asarray(Image.open(paint(tmp_path / "1.png", "ben", 0)))
    face = perception.faces.detect(rgb)[0]
    given = {order: Judge(models / "judge.onnx", order).embed(perception.faces, rgb, face) for order in ("rgb", "bgr")}
    swapped = Judge(models / "judge.onnx").embed(perception.faces, np.ascontiguousarray(rgb[:, :, ::-1]), face)
    assert np.allclose(given["bgr"], swapped, atol=1e-4) and not np.allclose(given["rgb"], given["bgr"], atol=1e-2)


def test_networks_of_looks_are_named_files(tmp_path: Path) -> None:
    other = tmp_path / "inception-2015-12-05.pt"
    other.write_bytes(b"something else")
    with pytest.raises(IncompatibleWeightsError, match="as published"):
        Inception(other)
    with pytest.raises(MissingWeightsError, match="LPIPS's file"):
        Lpips(tmp_path / "gone.pth")
    damaged = tmp_path / "alexnet-owt-7be5be79.pth"
    damaged.write_bytes(b"cut off")
    with pytest.raises(IncompatibleWeightsError, match="AlexNet or VGG-16"):
        Lpips(damaged)


def test_fid_kid_and_lpips_with_networks_at_hand(
    perception: Perception, photos: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any functions of aligned faces stand in for networks that no test can carry."""
    monkeypatch.setattr(looking, "TRANSFORM_SIZE", 512)
    everybody = read_set("folder", photos)
    faces = everybody.joined(read_drawn(drawn, everybody)).limited(2, 1, seed=3)
    mean: Any = lambda rgb: np.pad(rgb.mean((1, 2)), ((0, 0), (0, 2045))).astype(np.float32)  # noqa: E731
    far: Any = lambda a, b: np.abs(a.astype(np.float32) - b).mean((1, 2, 3))  # noqa: E731
    report = evaluate(faces, perception, QUICK, out=tmp_path / "run", networks=Networks(mean, far), plots=False)
    found = report.figures
    assert found["distribution"]["fid"]["value"] > 0 and "warning" in found["distribution"]["fid"]
    assert not found["faces"]["reasons"]
    assert found["distribution"]["fid"]["real"] == found["set"]["real"] >= 2
    assert found["distribution"]["fid"]["drawn"] == 2
    assert found["diversity"]["real"]["lpips"]["people"] == 1
    assert found["diversity"]["drawn"]["lpips"]["value"] > 0


def test_two_runs_are_compared_person_by_person(
    perception: Perception, photos: Path, drawn: Path, tmp_path: Path
) -> None:
    real = read_set("folder", photos)
    worse = tmp_path / "worse"
    shutil.copytree(drawn, worse)
    for person in PEOPLE:  # somebody else's colour in one of two pictures
        paint(worse / person / "1.png", "ben" if person != "ben" else "anna", 5)
    for name, folder in (("good", drawn), ("bad", worse)):
        faces = real.joined(read_drawn(folder, real)).limited(2)
        evaluate(faces, perception, QUICK, out=tmp_path / name, plots=False)
    found = compare(tmp_path / "good", tmp_path / "bad", replicates=200)
    change = found["differences"]["to_input"]
    assert found["paired"] and change["high"] < 0
    assert change["value"] == pytest.approx(change["second"] - change["first"])
    assert found["differences"]["no_face"]["value"] == pytest.approx(-1 / 8)
    assert found["differences"]["judge_to_input"]["value"] is None
    assert compare(tmp_path / "good", tmp_path / "good")["differences"]["to_input"]["value"] == 0.0
    assert "cosine to the input photo |" in comparison_text(found)
    with pytest.raises(InputError, match="no finished report"):
        compare(tmp_path / "good", tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match="is no report"):
        compare(tmp_path / "good", tmp_path)


def test_the_command_draws_measures_and_compares(
    photos: Path, tiny_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn once, in two shards; the one that ends last measures and reports."""
    write_antelopev2(tiny_copy / "antelopev2")
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "photos", str(photos), "--per-person", "2", "--people", "3", "--draw", "1", "--steps", "1"]
    words += ["--replicates", "20", "--models", str(tiny_copy), "-o", "run"]
    assert main([*words, "--shard", "0/2"]) == 0
    assert "other shards are not" in capsys.readouterr().out
    assert main([*words, "--shard", "1/2"]) == 0
    capsys.readouterr()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["set"]["real"] == 6 and report["set"]["drawn"] == 3
    assert report["faces"]["no_face_drawn"]["pictures"] == 3
    with_face = sum(row["role"] == "drawn" and row["error"] is None for row in rows_of(tmp_path / "run"))
    assert report["likeness"]["recogniser"]["to_asked"]["pictures"] == with_face
    pictures = sorted((tmp_path / "run" / "drawn").rglob("*.png"))
    stamps = [path.stat().st_mtime_ns for path in pictures]
    assert len(pictures) == 3 and main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"] == report
    assert stamps == [path.stat().st_mtime_ns for path in pictures]
    assert main(["evaluate", "compare", "run", "run", "--replicates", "20", "-o", "compared.md"]) == 0
    assert "Second less first" in (tmp_path / "compared.md").read_text()


def test_the_command_says_what_is_wrong(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["evaluate", "--suite", "lfw"], "evaluate photos FOLDER --suite lfw"),
        (["evaluate", "photos", "gone"], "does not exist"),
        (["evaluate", "photos", str(photos), "--suite", "casia"], "must be"),
        (["evaluate", "photos", str(photos), "--shard", "4/2"], "shard"),
        (["evaluate", "photos", str(photos), "--draw", "9"], "pictures per person"),
        (["evaluate", "photos", str(photos), "--draw", "1", "--drawn", str(photos)], "not both"),
        (["evaluate", "photos", str(photos), "--suite", "dataset", "--draw", "1"], "drawn already"),
        (["evaluate", "photos", str(photos), "--judge", "no.onnx"], "no second recogniser"),
        (["evaluate", "compare", "a", "b"], "no finished report"),
    ):
        assert main(words) == 1
        assert said in capsys.readouterr().err


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": python_path()}


def test_the_page_names_commands_and_options_that_exist() -> None:
    import re
    import shlex

    from typer.main import get_command

    from arc2face.evaluation.protocol import FARS
    from arc2face_app.cli import evaluate as command

    group: Any = get_command(command.app)
    page = (PROJECT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = re.findall(r"^arc2face evaluate (.+)$", page, re.MULTILINE)
    assert len(lines) >= 9
    for line in lines:
        words = shlex.split(line.partition("#")[0].rstrip("& "))
        chosen = group.commands.get(words[0], group)
        known = {text for option in chosen.params for text in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, line
    said = re.search(r"TAR at FAR ([\d., ]+),", page)
    assert said and tuple(float(number) for number in said[1].split(", ")) == FARS
