"""What goes out of a data set, what is refused, and that an export is whole or not there."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arc2face.dataset.export import FORMATS, export
from arc2face.dataset.export import place as export_place
from arc2face.dataset.plan import DatasetPlan
from arc2face.errors import CancelledError, InputError, SettingsError, StorageError
from tests.dataset_folders import painted, who, write_dataset


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with 3, 2 and 3 pictures; one row of the third is a failure."""
    root = tmp_path_factory.mktemp("set") / "faces"
    write_dataset(root, (3, 2, 4), failed=[(2, 1)])
    return root


# ---- what goes out


def test_filters_choose_and_count(small: Path, tmp_path: Path) -> None:
    summary = export(
        small, "folder", tmp_path / "out", min_similarity=0.75, exclude=["0000000_0001", "person-1"], workers=3
    )
    names = sorted(path.name for path in summary.out.rglob("*.png"))
    assert names == ["0000000_0000.png", "0000002_0000.png"]
    assert summary.left_out == {
        "without a picture (the manifest says why)": 4,
        "excluded": 3,
        "with a similarity below 0.75, or none": 3,
    }
    with (summary.out / "people.csv").open() as stream:
        assert [(row["label"], row["identity_number"]) for row in csv.DictReader(stream)] == [("0", "0"), ("1", "2")]
    one = export(small, "webdataset", tmp_path / "one", people=["person-2"])
    with (one.out / "people.csv").open() as stream:
        assert [(row["label"], row["pictures"]) for row in csv.DictReader(stream)] == [("0", "3")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "zip"}, "folder, rec"),
        ({"size": 5}, "size"),
        ({"align": "arcface", "size": 100}, "multiple of 112"),
        ({"align": "middle"}, "none, arcface or ffhq"),
        ({"quality": 101}, "quality"),
        ({"picture_format": "webp"}, "png or jpg"),
        ({"exclude": ["person-9"]}, "'person-9'"),
        ({"people": ["nobody"]}, "'nobody'"),
        ({"people": "person-1"}, "list of keys"),
        ({"min_similarity": 0.99}, "Nothing is left"),
        ({"min_second_similarity": 0.1}, "Nothing is left"),
        ({"min_similarity": float("nan")}, "least similarity"),
        ({"trigger": "a, b"}, "trigger"),
        ({"per_person": 0}, "per person"),
        ({"workers": 0}, "threads"),
        ({"shard_bytes": 1}, "size of a file"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    small: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        export(small, options.pop("to", "folder"), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_set_and_one_of_another_plan_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", (1, 1, 1))
    aside = folder.manifest(1).read_bytes()
    folder.manifest(1).unlink()
    with pytest.raises(SettingsError, match="1 of 2 shards are not drawn"):
        export(tmp_path / "set", "folder", tmp_path / "out")
    summary = export(tmp_path / "set", "folder", tmp_path / "out", partial=True)
    assert summary.pictures == 2 and "1 of 2 shards" in summary.warnings[0]
    folder.manifest(1).write_bytes(aside)
    plan = DatasetPlan.from_dict(folder.plan_json())
    folder.plan.write_text(replace(plan, seed=6).to_json())
    with pytest.raises(InputError, match="another plan"):
        export(tmp_path / "set", "folder", tmp_path / "more")
    with pytest.raises(InputError, match="no data set"):
        export(tmp_path / "out", "folder", tmp_path / "more")


# ---- whole or not at all


def test_nothing_is_left_of_an_export_that_stops(small: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise CancelledError(f"stopped at {done} of {total}")

    for to in FORMATS:
        with pytest.raises(CancelledError, match="5 of 8"):
            export(small, to, tmp_path / "out", align="none", progress=stop)
        assert list(tmp_path.iterdir()) == []


def test_an_export_overwrites_exports_only(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(small, "folder", out)  # an empty folder is no hindrance
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(SettingsError, match="not empty"):
        export(small, "lora", out)
    assert sorted(path.name for path in out.iterdir()) == before
    export(small, "lora", out, overwrite=True)
    assert (out / "metadata.jsonl").is_file() and not (out / "0000000").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(SettingsError, match="no export wrote"):
        export(small, "folder", mine, overwrite=True)
    with pytest.raises(SettingsError, match="is a file"):
        export(small, "folder", mine / "letter.txt")
    with pytest.raises(SettingsError, match="root of a disk"):
        export(small, "folder", Path(mine.anchor))
    assert (mine / "letter.txt").read_text() == "dear" and len(list(tmp_path.iterdir())) == 2


KILLED = """
import os, signal, sys
from arc2face.dataset.export import export
def stop(done, total):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
export(sys.argv[1], "folder", sys.argv[2], progress=stop, workers=1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals as on Unix")
def test_a_killed_export_leaves_no_set_and_the_next_one_sweeps(small: Path, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(small), str(tmp_path / "out")], cwd=Path.cwd(), check=False)
    left = list(tmp_path.iterdir())
    assert run.returncode < 0 and len(left) == 1 and left[0].name.startswith(".out.exporting-")
    assert not (left[0] / "export.json").exists()
    export(small, "folder", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_seen_before_and_told_during(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = export_place.SLACK + 3000

    with monkeypatch.context() as patch:
        patch.setattr(export_place.shutil, "disk_usage", lambda folder: Usage)
        with pytest.raises(StorageError, match="needs about"):
            export(small, "folder", tmp_path / "out")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        export(small, "folder", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits as on Unix")
@pytest.mark.parametrize("to", sorted(FORMATS))
def test_a_disk_that_refuses_in_the_middle(tmp_path: Path, to: str) -> None:
    """A limit on the size of files refuses as a full disk does, whoever writes: Python, LMDB or Arrow."""
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    write_dataset(tmp_path / "set", (2, 2), paint=lambda person, picture: noise)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, before[1]))
    try:
        with pytest.raises(StorageError, match="could not be"):
            export(tmp_path / "set", to, tmp_path / "out", align="none", picture_format="png", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_damaged_shard_is_told(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", (2, 2))
    whole = folder.tar(0).read_bytes()
    folder.tar(0).write_bytes(whole[:700])
    with pytest.raises(InputError, match="damaged"):
        export(tmp_path / "set", "folder", tmp_path / "out")
    spoilt = bytearray(whole)
    at = whole.index(b"IDAT")
    spoilt[at + 4 : at + 24] = bytes(20)
    folder.tar(0).write_bytes(bytes(spoilt))
    with pytest.raises(InputError, match="0000000_0000 is damaged"):
        export(tmp_path / "set", "folder", tmp_path / "out", size=64)
    folder.tar(0).unlink()
    with pytest.raises(InputError, match=r"00000\.tar"):
        export(tmp_path / "set", "folder", tmp_path / "out")
    assert not (tmp_path / "out").exists()


WRITTEN = ("rec", "webdataset", "parquet", "lora")


def test_the_same_call_gives_the_same_bytes_with_any_number_of_threads(small: Path, tmp_path: Path) -> None:
    digests: set[str] = set()
    for workers in (1, 4):
        for to in WRITTEN:
            export(small, to, tmp_path / f"{to}{workers}", align="none", size=48, workers=workers)
        files = [path for to in WRITTEN for path in sorted((tmp_path / f"{to}{workers}").rglob("*")) if path.is_file()]
        digests.add(hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest())
    assert len(digests) == 1 and len(files) > 20


def test_many_shards_are_read_with_few_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arc2face.dataset.export import reading

    monkeypatch.setattr(reading, "OPEN_FILES", 2)
    monkeypatch.setattr(reading, "KEPT_TABLES", 2)
    write_dataset(tmp_path / "set", (2,) * 5, per_shard=1, paint=lambda k, j: painted(k, j, 16))
    summary = export(tmp_path / "set", "lora", tmp_path / "out", shuffle=True, seed=3)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert summary.pictures == 10 == len(lines)
    for line in lines:
        person, picture = who((tmp_path / "out" / line["file_name"]).read_bytes())
        assert line["file_name"].endswith(f"{person:07d}_{picture:04d}.png")
