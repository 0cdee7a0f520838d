"""Readers of folders: what they accept, and the one sentence for what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from arc2face.errors import InputError, SettingsError
from arc2face.evaluation import FaceSet, Sample, read_set
from arc2face.evaluation.breakdown import with_groups
from arc2face.evaluation.layouts import read_drawn
from arc2face.evaluation.state import Shard


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    return root


def people(faces: FaceSet) -> list[tuple[str, str | None]]:
    return [(sample.key, sample.person) for sample in faces.samples]


def test_a_folder_per_person(tmp_path: Path) -> None:
    fill(tmp_path, "anna/1.jpg", "anna/2.PNG", "ben/1.jpeg", "ben/notes.txt", "ben/.hidden.jpg")
    (tmp_path / "nobody").mkdir()
    faces = read_set("folder", tmp_path)
    assert people(faces) == [("anna/1.jpg", "anna"), ("anna/2.PNG", "anna"), ("ben/1.jpeg", "ben")]
    assert "nobody" in faces.notes[0]
    assert faces.samples[0].open is not None and faces.samples[0].open() == tmp_path / "anna" / "1.jpg"


def test_a_flat_folder_with_a_list(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "people.csv").write_text("﻿file, person ,sex\n1.jpg,Åsa,f\n2.jpg,Åsa,\n", encoding="utf-8")
    faces = read_set("folder", tmp_path)
    assert people(faces) == [("1.jpg", "Åsa"), ("2.jpg", "Åsa")]
    assert faces.samples[0].labels == {"sex": "f"} and faces.samples[1].labels == {}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "holds no picture"),
        (("1.jpg",), "nothing says whom they show"),
        (("1.jpg", "anna/1.jpg"), "both pictures"),
        (("anna/1.jpg", "anna/older/2.jpg"), "holds the folder 'older'"),
        (("anna/1.jpg", "Anna/1.jpg"), "two folders for one name"),
        (("e\u0301va/1.jpg", "\u00e9va/2.jpg"), "two folders for one name"),
    ],
)
def test_folders_that_say_too_little_or_too_much(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    """Empty, mixed, nested, one name twice."""
    with pytest.raises(InputError, match=said):
        read_set("folder", fill(tmp_path, *names))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\n1.jpg\n", "no column 'person'"),
        ("file,person\n1.jpg,\n", "line 2: 'person' is empty"),
        ("file,person\n../1.jpg,anna\n", "lies outside"),
        ("file,person\n/etc/1.jpg,anna\n", "lies outside"),
        ("file,person\n9.jpg,anna\n", "is not in"),
        ("file,person\n1.jpg,anna\n1.jpg,ben\n", "names the picture '1.jpg' twice"),
        ("file,person\n", "lists no picture"),
    ],
)
def test_lists_that_do_not_fit(tmp_path: Path, text: str, said: str) -> None:
    fill(tmp_path, "1.jpg")
    (tmp_path / "people.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_set("folder", tmp_path)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    (tmp_path / "people.csv").write_bytes(b"file,person\n1.jpg,\xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_set("folder", tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_set("folder", tmp_path / "gone")
    with pytest.raises(InputError, match="is a file"):
        read_set("folder", tmp_path / "1.jpg")


def test_lfw_with_and_without_pairs(tmp_path: Path) -> None:
    root = fill(tmp_path / "lfw", "Ann_B/Ann_B_0001.jpg", "Ann_B/Ann_B_0002.jpg", "Cy_D/Cy_D_0001.jpg")
    assert "no pairs.txt" in read_set("lfw", root).notes[0]
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn_B 1 2\nAnn_B 1 Cy_D 1\nAnn_B 2 1\nAnn_B 2 Cy_D 1\n")
    faces = read_set("lfw", root)
    assert [(pair.second, pair.same, pair.fold) for pair in faces.pairs] == [
        ("Ann_B/Ann_B_0002.jpg", True, 0),
        ("Cy_D/Cy_D_0001.jpg", False, 0),
        ("Ann_B/Ann_B_0001.jpg", True, 1),
        ("Cy_D/Cy_D_0001.jpg", False, 1),
    ]
    # a set with a published list is never cut
    assert len(faces.limited(1).samples) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ann_B 1 2\n", "number of folds"),
        ("10 300\nAnn_B 1\n", "line 2"),
        ("10 300\nAnn_B 1 9\n", "picture 9 of 'Ann_B' is not in the folder"),
        ("10 300\n", "lists no pair"),
    ],
)
def test_lists_of_pairs_that_do_not_fit(tmp_path: Path, text: str, said: str) -> None:
    fill(tmp_path, "Ann_B/Ann_B_0001.jpg", "Ann_B/Ann_B_0002.jpg")
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_set("lfw", tmp_path)


def test_lfw_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not named like its folder"):
        read_set("lfw", fill(tmp_path, "Ann_B/Cy_D_0001.jpg"))
    with pytest.raises(SettingsError, match="leave the list out"):
        read_set("lfw", tmp_path, tmp_path / "people.csv")


def test_agedb(tmp_path: Path) -> None:
    faces = read_set("agedb", fill(tmp_path / "ok", "2_Maria_C_35_f.jpg", "10_Max_9_M.jpg"))
    assert people(faces) == [("2_Maria_C_35_f.jpg", "Maria_C"), ("10_Max_9_M.jpg", "Max")]
    assert faces.samples[0].labels == {"sex": "f", "age": "30-39"}
    assert faces.samples[1].labels == {"sex": "m", "age": "0-9"}
    with pytest.raises(InputError, match="not named as AgeDB"):
        read_set("agedb", fill(tmp_path / "other", "maria.jpg"))
    with pytest.raises(InputError, match="one number"):
        read_set("agedb", fill(tmp_path / "twice", "2_A_3_f.jpg", "02_B_3_f.jpg"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture of AgeDB"):
        read_set("agedb", tmp_path / "empty")


def test_synth500_says_when_it_is_not_the_whole(tmp_path: Path) -> None:
    faces = read_set("synth500", fill(tmp_path / "flat", "a.png", "b.png"))
    assert people(faces) == [("a.png", "a"), ("b.png", "b")]
    assert "2 people, not 500" in faces.notes[-1]
    assert people(read_set("synth500", fill(tmp_path / "deep", "a/1.png"))) == [("a/1.png", "a")]
    with pytest.raises(InputError, match="would be one person"):
        read_set("synth500", fill(tmp_path / "twice", "a.png", "a.jpg"))
    with pytest.raises(SettingsError, match="suite"):
        read_set("imagenet", tmp_path)


def test_pictures_drawn_elsewhere(tmp_path: Path) -> None:
    faces = read_set("folder", fill(tmp_path / "real", "anna/1.jpg"))
    drawn = read_drawn(fill(tmp_path / "drawn", "anna/1.jpg", "anna/2.jpg"), faces)
    assert [(one.key, one.role) for one in drawn.samples] == [
        ("drawn/anna/1.jpg", "drawn"),
        ("drawn/anna/2.jpg", "drawn"),
    ]
    assert len(faces.joined(drawn).samples) == 3
    (tmp_path / "drawn" / "people.csv").write_text("file,person,input\nanna/1.jpg,anna,anna/1.jpg\n")
    first = read_drawn(tmp_path / "drawn", faces).samples[0]
    assert first.asked is not None and first.asked.input_key == "anna/1.jpg" and first.labels == {}
    (tmp_path / "drawn" / "people.csv").write_text("file,person,input\nanna/1.jpg,anna,anna/7.jpg\n")
    with pytest.raises(InputError, match=r"drawn from 'anna/7\.jpg'"):
        read_drawn(tmp_path / "drawn", faces)
    with pytest.raises(InputError, match="who is not in the set"):
        read_drawn(fill(tmp_path / "other", "ben/1.jpg"), faces)


def test_limits_take_the_same_people_whoever_else_is_there(tmp_path: Path) -> None:
    names = [f"p{k}/{n}.jpg" for k in range(12) for n in range(5)]
    faces = read_set("folder", fill(tmp_path, *names))
    few = faces.limited(2, 4, seed=1)
    assert len(few.people) == 4 and len(few.samples) == 8
    assert few.digest() == faces.limited(2, 4, seed=1).digest() != faces.limited(2, 4, seed=2).digest()
    half = FaceSet("half", tuple(one for one in faces.samples if one.person in few.people))
    assert half.limited(2, 4, seed=1).digest() == few.digest()


def test_groups_from_a_list(tmp_path: Path) -> None:
    faces = read_set("folder", fill(tmp_path / "set", "anna/1.jpg", "ben/1.jpg"))
    listed = tmp_path / "groups.csv"
    listed.write_text("person,skin\nanna,II\n")
    grouped = with_groups(faces, listed)
    assert [dict(one.labels) for one in grouped.samples] == [{"skin": "II"}, {}]
    assert "1 people are in no group" in grouped.notes[0]
    for text, said in (("person\nanna\n", "further columns"), ("person,skin\nanna,I\nanna,II\n", "twice"),
                       ("person,skin\nzoe,I\n", "nobody of this set")):  # fmt: skip
        listed.write_text(text)
        with pytest.raises(InputError, match=said):
            with_groups(faces, listed)


def test_empty_sets_double_keys_and_shards() -> None:
    with pytest.raises(InputError, match="no picture"):
        FaceSet("none", ())
    with pytest.raises(InputError, match="twice"):
        FaceSet("two", (Sample("a", "x", None), Sample("a", "y", None)))
    assert Shard.parse(None) == Shard(0, 1) and Shard.parse("2/3") == Shard(2, 3)
    for text in ("3/3", "1", "a/b", "-1/2", "0/0"):
        with pytest.raises(SettingsError):
            Shard.parse(text)
