"""Exports of a data set, read back by their consumers' own readers: webdataset, pyarrow, lmdb with msgpack.

MXNet installs beside no current NumPy; its RecordIO is read by a reader that was written here from the format's
description (dmlc-core, recordio.h; MXNet's IRHeader), and by hand once with MXNet and DALI themselves
(docs/dataset-formats.md).
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arc2face.dataset.export import export
from arc2face.dataset.export.captions import caption
from arc2face.dataset.export.recordio import frame
from arc2face.faces.analyser import FaceAnalyser
from arc2face_app.cli import main
from tests import tiny_faces
from tests.dataset_folders import pixels, who, write_dataset

MAGIC = struct.pack("<I", 0xCED7230A)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with 3, 2 and 3 pictures; one row of the third is a failure."""
    root = tmp_path_factory.mktemp("set") / "faces"
    write_dataset(root, (3, 2, 4), failed=[(2, 1)])
    return root


EXPECTED = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 2), (2, 3)]


# ---- the formats


def test_folder_holds_every_picture_byte_for_byte_under_its_person(small: Path, tmp_path: Path) -> None:
    summary = export(small, "folder", tmp_path / "out")
    assert (summary.pictures, summary.people) == (8, 3)
    assert summary.left_out == {"without a picture (the manifest says why)": 4}
    people = sorted(path.name for path in summary.out.iterdir() if path.is_dir())
    assert people == ["0000000", "0000001", "0000002"]  # as torchvision's ImageFolder numbers classes
    found = [(person, who(path.read_bytes())) for person in people for path in sorted((summary.out / person).iterdir())]
    assert [pair for _, pair in found] == EXPECTED and all(int(person) == pair[0] for person, pair in found)
    with tarfile.open(small / "shards" / "00001.tar") as tar:
        member = tar.extractfile("0000002_0003.png")
        assert member is not None
        assert (summary.out / "0000002" / "0000002_0003.png").read_bytes() == member.read()
    with (summary.out / "people.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["label"], row["identity"], row["pictures"]) for row in rows][2] == ("2", "person-2", "3")


def test_webdataset_reads_the_tars(small: Path, tmp_path: Path) -> None:
    import webdataset

    export(small, "webdataset", tmp_path / "out", shard_bytes=8000)
    tars = sorted((tmp_path / "out").glob("train-*.tar"))
    assert len(tars) > 1 and all(path.stat().st_size < 16_000 for path in tars)
    data = webdataset.WebDataset(  # pyright: ignore[reportAttributeAccessIssue]  # given by a lazy module
        [str(path) for path in tars], shardshuffle=False, empty_check=False
    )
    found = [(who(sample["png"]), int(sample["cls"]), json.loads(sample["json"])) for sample in data]
    assert [pair for pair, _, _ in found] == EXPECTED
    assert all(label == pair[0] for pair, label, _ in found)
    facts = found[-1][2]
    assert facts["identity"] == "person-2" and facts["seed"] == 2003 and len(facts["expression"]) == 55
    assert facts["yaw"] == 30.0 and facts["similarity"] == pytest.approx(0.6) and "file" not in facts


def test_parquet_has_pictures_facts_and_a_card_that_says_what_it_is(small: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as parquet
    import yaml

    summary = export(small, "parquet", tmp_path / "out", size=200, shard_bytes=1000)
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert len(files) == summary.details["files"] > 1
    assert files[0].name == f"train-00000-of-{len(files):05d}.parquet"
    rows = [row for path in files for row in parquet.read_table(path).to_pylist()]
    assert [who(row["image"]["bytes"]) for row in rows] == EXPECTED
    assert (
        rows[4]["image"]["path"] == "0000001_0001.png" and rows[4]["label"] == 1 and rows[4]["identity"] == "person-1"
    )
    assert rows[4]["expression"] == [0.5] * 55 and rows[4]["tries"] == 2
    features = json.loads(parquet.read_schema(files[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and set(features) == set(rows[0])
    text = (tmp_path / "out" / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "other" and header["dataset_info"]["splits"][0]["num_examples"] == 8
    assert [feature["name"] for feature in header["dataset_info"]["features"]] == list(rows[0])
    assert "Licence: not chosen yet" in text and "mean 0.787" in text
    assert "do not exist: their identities were sampled (components of 9 people)" in text
    assert "`unet.safetensors`: SHA-256 `abab" in text


def test_a_card_does_not_call_given_people_invented(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", (1, 1), source="photos: 3")
    export(tmp_path / "set", "parquet", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "consent" in text and "do not exist" not in text


def test_lmdb_as_vec2face_reads_it(small: Path, tmp_path: Path) -> None:
    import lmdb
    import msgpack

    from arc2face.dataset.identities import Identities

    export(small, "lmdb", tmp_path / "out", align="none", picture_format="png")
    people = Identities.load(small / "identities.npz")
    path = str(tmp_path / "out" / "train.lmdb")
    with lmdb.open(path, subdir=False, readonly=True, lock=False) as database, database.begin() as transaction:
        keys: Any = msgpack.loads(transaction.get(b"__keys__"))
        assert msgpack.loads(transaction.get(b"__len__")) == 8 == len(keys)
        assert msgpack.loads(transaction.get(b"__classnum__")) == 3
        entries: Any = [msgpack.loads(transaction.get(key)) for key in keys]
    assert keys[3] == b"3" and [who(image) for image, _, _ in entries] == EXPECTED
    for image, feature, label in entries:
        assert label == who(image)[0]
        assert np.array_equal(np.load(io.BytesIO(feature), allow_pickle=False), people.vectors[label])


def test_lmdb_grows_beyond_its_first_map_and_may_leave_features_out(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lmdb
    import msgpack

    from arc2face.dataset.export import lmdbs

    monkeypatch.setattr(lmdbs, "FIRST_MAP", 40_960)
    monkeypatch.setattr(lmdbs, "TOGETHER", 1)
    export(small, "lmdb", tmp_path / "out", align="none", size=200, picture_format="png", features=False)
    path = str(tmp_path / "out" / "train.lmdb")
    with lmdb.open(path, subdir=False, readonly=True, lock=False) as database, database.begin() as transaction:
        entries: Any = [msgpack.loads(transaction.get(str(k).encode())) for k in range(8)]
    assert [(who(image), label) for image, label in entries] == [(pair, pair[0]) for pair in EXPECTED]
    assert pixels(entries[0][0]).shape == (200, 200, 3)


# ---- RecordIO: a reader of our own


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(place, payload) of each record, put together as dmlc's reader does."""
    at = 0
    while at < len(data):
        start, payload = at, b""
        while True:
            magic, word = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
            flag, length = word >> 29, word & (1 << 29) - 1
            assert magic == MAGIC and at % 4 == 0 and length <= len(data)
            payload += data[at + 8 : at + 8 + length]
            at += 8 + (length + 3 & ~3)
            if flag in (0, 3):
                break
            payload += MAGIC
        yield start, payload


def unpack(payload: bytes) -> tuple[list[float], int, bytes]:
    """(labels, id, picture) of an IRHeader and what follows."""
    flag, label, number, _ = struct.unpack_from("<IfQQ", payload)
    body = payload[24:]
    return (
        ([label], number, body) if not flag else (list(struct.unpack_from(f"<{flag}f", body)), number, body[4 * flag :])
    )


def read_rec(folder: Path) -> dict[int, tuple[list[float], int, bytes]]:
    """Number -> record, through the index, as MXIndexedRecordIO does; every record must be named by it."""
    places = dict(records((folder / "train.rec").read_bytes()))
    lines = [line.split("\t") for line in (folder / "train.idx").read_text().splitlines()]
    index = {int(number): int(place) for number, place in lines}
    assert sorted(index.values()) == sorted(places)
    return {number: unpack(places[place]) for number, place in index.items()}


def test_rec_in_insightfaces_layout(small: Path, tmp_path: Path) -> None:
    export(small, "rec", tmp_path / "out", align="none", size=112)
    found = read_rec(tmp_path / "out")
    first, end = (int(label) for label in found[0][0])
    assert (first, end) == (9, 12) and found[0][2] == b""
    pictures = [found[number] for number in range(1, first)]
    assert [who(image) for _, _, image in pictures] == EXPECTED
    assert [labels for labels, _, _ in pictures] == [[float(person)] for person, _ in EXPECTED]
    assert all(pixels(image).shape == (112, 112, 3) for _, _, image in pictures)
    assert [found[number][0] for number in range(first, end)] == [[1.0, 4.0], [4.0, 6.0], [6.0, 9.0]]
    assert (tmp_path / "out" / "property").read_text() == "3,112,112\n"
    listing = [line.split("\t") for line in (tmp_path / "out" / "train.lst").read_text().splitlines()]
    assert listing[3] == ["4", "1.000000", "0000001/0000001_0000.jpg"]


def test_rec_shuffled_is_im2recs_and_the_seed_decides_the_order(small: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        export(small, "rec", tmp_path / name, align="none", size=112, shuffle=True, seed=seed)
    found = read_rec(tmp_path / "a")
    order = [who(found[number][2]) for number in range(8)]
    assert sorted(order) == EXPECTED != order
    assert all(found[number][0] == [float(order[number][0])] for number in range(8)) and len(found) == 8
    data = [(tmp_path / name / "train.rec").read_bytes() for name in "abc"]
    assert data[0] == data[1] != data[2]


@pytest.mark.parametrize("where", [(0,), (1,), (4,), (0, 4), (8, 12, 30), (4, 40), (36,)])
def test_rec_escapes_magic_words_as_dmlc_does(where: tuple[int, ...]) -> None:
    payload = bytearray(range(1, 42))
    for at in where:
        payload[at : at + 4] = MAGIC
    framed = frame(bytes(payload))
    assert [found for _, found in records(framed)] == [bytes(payload)] and len(framed) % 4 == 0
    # a reader that starts anywhere sees magic words at record starts only
    starts = [at for at in range(0, len(framed), 4) if framed[at : at + 4] == MAGIC]
    aligned = [at for at in where if at % 4 == 0 and payload[at : at + 4] == MAGIC]
    assert len(starts) == 1 + len(aligned)


# ---- LoRA


def test_lora_has_captions_and_a_table_and_a_balanced_choice(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", (12,), keys=["Zoë, the 1st"])
    summary = export(tmp_path / "set", "lora", tmp_path / "out", per_person=4, repeats=7, trigger="sks")
    folder = tmp_path / "out" / "7_Zoe_the_1st"
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 4 == summary.pictures and summary.details["folders"] == [folder.name]
    for line in lines:
        path = tmp_path / "out" / line["file_name"]
        assert path.with_suffix(".txt").read_text().strip() == line["text"]
        assert line["text"].startswith("sks, portrait photo") and "Zo" not in line["text"]
        assert path.is_file()
    assert len({line["text"] for line in lines}) == 4  # four poses, not one four times
    assert summary.left_out["beyond the number per person"] == 8


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            {"yaw": -30.0, "pitch": 12.0, "expression_name": "Mouth open"},
            "head turned to the left, looking down, mouth open",
        ),
        (
            {"yaw": 60.0, "roll": 15.0, "expression_name": "Neutral"},
            "near profile to the right, head tilted, neutral expression",
        ),
        ({"yaw": 3.0, "pitch": -20.0}, "facing the camera, looking up"),
        ({}, ""),
    ],
)
def test_captions_tell_pose_and_expression_only(row: dict[str, Any], text: str) -> None:
    assert caption(row) == ", ".join(part for part in ("portrait photo", text) if part)


# ---- alignment


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceAnalyser:
    return FaceAnalyser.from_folder(tiny_faces.write_antelopev2(tmp_path_factory.mktemp("networks") / "antelopev2"))


def drawn_face(person: int, picture: int) -> np.ndarray:
    rgb = tiny_faces.blank(160, 160, 90 + 40 * person)
    if (person, picture) != (1, 1):
        tiny_faces.draw_face(rgb, 70 + 10 * picture, 80, 25)
    return rgb


def test_arcface_crops_lie_on_the_template_and_a_lost_face_is_told(tmp_path: Path, faces: FaceAnalyser) -> None:
    write_dataset(tmp_path / "set", (2, 2), paint=drawn_face)
    summary = export(tmp_path / "set", "rec", tmp_path / "out", faces=faces)
    found = read_rec(tmp_path / "out")
    assert summary.pictures == 3 and summary.left_out["in which the alignment found no face"] == 1
    assert "0000001_0001" in (tmp_path / "out" / "left_out.csv").read_text() and "no face" in summary.warnings[0]
    for number in (1, 2, 3):
        image = pixels(found[number][2]).astype(int)
        assert image.shape == (112, 112, 3)
        magenta = np.argwhere((image[..., 0] > 180) & (image[..., 1] < 90) & (image[..., 2] > 180))
        assert np.abs(magenta.mean(axis=0) - 56).max() < 3  # the template's middle, wherever the face was
    assert [found[number][0] for number in (4, 5)] == [[1.0, 3.0], [3.0, 4.0]]


def test_ffhq_squares_and_the_whole_picture_in_other_sizes(tmp_path: Path, faces: FaceAnalyser) -> None:
    write_dataset(tmp_path / "set", (1,), paint=drawn_face)
    export(tmp_path / "set", "folder", tmp_path / "ffhq", align="ffhq", size=64, faces=lambda: faces)
    export(tmp_path / "set", "folder", tmp_path / "whole", size=64, picture_format="jpg", quality=80)
    aligned = (tmp_path / "ffhq" / "0000000" / "0000000_0000.png").read_bytes()
    assert pixels(aligned).shape == (64, 64, 3) and b"trainedAlgorithmicMedia" in aligned
    whole = (tmp_path / "whole" / "0000000" / "0000000_0000.jpg").read_bytes()
    assert pixels(whole).shape == (64, 64, 3) and b"trainedAlgorithmicMedia" in whole
    magenta = [((image[..., 0] > 180) & (image[..., 1] < 90)).mean() for image in map(pixels, (aligned, whole))]
    assert magenta[0] > 1.2 * magenta[1] > 0  # the face fills more of the aligned square


# ---- the page


PAGE = Path(__file__).resolve().parent.parent / "docs" / "dataset-formats.md"
ELSEWHERE = ("torchvision", "mxnet", "datasets")
"""Packages of the page that are not ours to install; their blocks were run by hand."""


def test_the_lines_of_the_page_run(tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_tree, tmp_path / "tree")
    tiny_faces.write_antelopev2(tmp_path / "tree" / "models" / "antelopev2")
    monkeypatch.setenv("ARC2FACE_MODELS", str(tmp_path / "tree" / "models"))
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "faces", (2, 1), paint=drawn_face, keys=["anna", "ben"])
    vectors = np.random.default_rng(0).standard_normal((80, 512)).astype(np.float32)
    np.savez(tmp_path / "embeddings.npz", vectors=vectors)
    commands = re.findall(r"^arc2face (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [main(shlex.split(command)) for command in commands] == [0, 0, 0]
    assert len(list((tmp_path / "exports" / "anna").rglob("*.txt"))) == 2
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ours = [block for block in blocks if not re.search(rf"^(?:from|import) ({'|'.join(ELSEWHERE)})\b", block, re.M)]
    assert len(blocks) - len(ours) == 3 and len(ours) >= 11
    names: dict[str, Any] = {}
    for block in ours:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["summary"].pictures == 3 and names["label"] == 0 and len(names["lines"]) == 2
    assert read_rec(tmp_path / "faces-rec")[0][0] == [4.0, 6.0] and len(names["invented"]) == 8


def test_the_page_names_every_format_and_column() -> None:
    from arc2face.dataset.export import FORMATS
    from arc2face.dataset.export.parquet import FEATURES

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in FORMATS) and all(f"`{name}`" in text for name in FEATURES)
