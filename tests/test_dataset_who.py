"""Who a data set shows, from every kind of source; nobody is lost, and everybody left out is named with the reason."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arc2face import Engine
from arc2face.dataset import people as people_module
from arc2face.dataset import photos as photos_module
from arc2face.dataset.identities import Identities
from arc2face.dataset.who import find_people, from_files
from arc2face.errors import EmbeddingError, InputError, SettingsError
from arc2face.faces.identities import save_identity
from arc2face.types import IdentityEmbedding
from tests import tiny_faces

COLOURS = {"anna": (40, 190, 60), "ben": (225, 235, 20), "cleo": (0, 110, 130)}


@pytest.fixture(scope="module")
def engine(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("who")
    shutil.copytree(tiny_tree, root / "tree")
    tiny_faces.write_antelopev2(root / "tree" / "models" / "antelopev2")
    with Engine.open(root / "tree" / "models", device="cpu") as engine:
        yield engine


def photo(person: str, place: int = 80, faces: int = 1) -> bytes:
    rgb = tiny_faces.blank(160, 160 * faces)
    for k in range(faces):
        tiny_faces.draw_face(rgb, place + 160 * k, 80, 25, COLOURS[person])
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def nobody() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tiny_faces.blank(100, 100)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """anna with two photos, ben with one, and the usual litter."""
    root = tmp_path / "photos"
    for person, place in (("anna", 70), ("anna", 85), ("ben", 80)):
        (root / person).mkdir(parents=True, exist_ok=True)
        (root / person / f"{place}.png").write_bytes(photo(person, place))
    (root / ".DS_Store").write_bytes(b"litter")
    (root / "anna" / "notes.txt").write_text("litter")
    return root


def put(folder: Path, person: str, **files: bytes) -> None:
    (folder / person).mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / person / f"{name}.png").write_bytes(data)


# ---- folders of photos


def test_a_folder_per_person(folder: Path, engine: Engine) -> None:
    told: list[tuple[int, int]] = []
    found = find_people(folder, engine, progress=lambda done, total: told.append((done, total)))
    assert found.identities.keys == ("anna", "ben") and found.identities.sources == ("photos: 2", "photos: 1")
    alone = engine.identify(folder / "ben" / "80.png").identity
    assert np.array_equal(found.identities.vectors[1], alone.vector)
    both = engine.identify([folder / "anna" / "70.png", folder / "anna" / "85.png"]).identity
    assert np.allclose(found.identities.vectors[0], both.vector, atol=1e-5)
    assert found.identities.recogniser_sha256 == engine.faces.recogniser_sha256
    assert told == [(1, 3), (2, 3), (3, 3)] and not found.unread and not found.warnings


def test_who_cannot_be_read_is_named_and_may_be_left_out(folder: Path, engine: Engine) -> None:
    put(folder, "blind", a=nobody())
    put(folder, "broken", a=b"no picture")
    put(folder, "empty")
    (folder / "nested" / "more").mkdir(parents=True)
    with pytest.raises(InputError, match="4 of 6 people could not be read") as caught:
        find_people(folder, engine)
    for words in ("blind: no photo could be used: a.png (No face", "broken: ", "empty: the folder holds no picture"):
        assert words in str(caught.value)
    found = find_people(folder, engine, skip_unreadable=True)
    assert found.identities.keys == ("anna", "ben")
    assert [person.name for person in found.unread] == ["blind", "broken", "empty", "nested"]
    assert "folders, not photos" in found.unread[3].reason and "4 people were left out" in found.warnings[-1]


def test_one_bad_photo_costs_no_person(folder: Path, engine: Engine) -> None:
    put(folder, "ben", bad=b"no picture", crowd=photo("ben", faces=2))
    found = find_people(folder, engine)
    assert found.identities.keys == ("anna", "ben")
    assert any("1 of 3 photos could not be used: bad.png" in words for words in found.warnings)
    assert any("several faces, the likeliest was taken: crowd.png" in words for words in found.warnings)


def test_two_people_in_one_folder(folder: Path, engine: Engine) -> None:
    put(folder, "anna", stranger=photo("ben"))
    put(folder, "pair", one=photo("anna"), two=photo("ben"))
    found = find_people(folder, engine, skip_unreadable=True)
    assert found.identities.keys == ("anna", "ben") and found.identities.sources[0] == "photos: 2"
    assert any("left out: stranger.png (cosine" in words for words in found.warnings)
    assert [person.name for person in found.unread] == ["pair"]
    assert "one.png" in found.unread[0].reason and "two.png" in found.unread[0].reason
    refused = find_people(folder, engine, skip_unreadable=True, outliers="refuse").unread
    assert [person.name for person in refused] == ["anna", "pair"] and "stranger.png" in refused[0].reason
    kept = find_people(folder, engine, outliers="keep")
    assert kept.identities.keys == ("anna", "ben", "pair") and kept.identities.sources[0] == "photos: 3"
    with pytest.raises(SettingsError, match="drop, keep or refuse"):
        find_people(folder, engine, outliers="forget")  # type: ignore[arg-type]


def test_mixed_empty_and_missing_folders(folder: Path, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="is empty"):
        find_people(tmp_path / "void", engine)
    with pytest.raises(InputError, match="does not exist"):
        find_people(tmp_path / "nowhere", engine)
    with pytest.raises(SettingsError, match="engine"):
        find_people(folder)
    (folder / "loose.jpg").write_bytes(photo("anna"))
    with pytest.raises(InputError, match=r"loose\.jpg.* beside folders of people \(anna, ben\)"):
        find_people(folder, engine)
    shutil.rmtree(folder / "anna")
    shutil.rmtree(folder / "ben")
    with pytest.raises(InputError, match="1 pictures and no folders"):
        find_people(folder, engine)


@pytest.mark.parametrize("other", ["Anna", "ANNA"])
def test_a_name_in_other_capitals_is_the_same_name(folder: Path, engine: Engine, other: str) -> None:
    put(folder, other, a=photo("cleo"))
    if len(list(folder.iterdir())) < 4:
        pytest.skip("this file system does not tell such names apart")
    with pytest.raises(InputError, match=f"one name: '{other}' and 'anna'"):
        find_people(folder, engine)


def test_one_person_under_two_names_is_noticed(folder: Path, engine: Engine) -> None:
    put(folder, "bernard", a=photo("ben", 82))
    found = find_people(folder, engine)
    assert any(words.startswith("ben and bernard look like one person") for words in found.warnings)


def test_too_many_photos_and_people(folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "ben", **{f"p{k:02d}": photo("ben", 70 + k) for k in range(3)})
    monkeypatch.setattr(photos_module, "MAX_PHOTOS", 2)
    found = find_people(folder, engine)
    assert any("ben: the first 2 of 4 photos were used" in words for words in found.warnings)
    monkeypatch.setattr(people_module, "MAX_IDENTITIES", 1)
    with pytest.raises(InputError, match="more than 1 people"):
        find_people(folder, engine)


# ---- tables


def test_a_csv_of_paths(folder: Path, engine: Engine) -> None:
    table = folder / "people.csv"
    table.write_text("\ufeffIdentity;file\nben;ben/80.png\nanna;anna/70.png\n\nanna;anna/85.png\nlost;gone.png\n")
    with pytest.raises(InputError, match=r"lost: no photo could be used: gone\.png"):
        find_people(table, engine)
    found = find_people(table, engine, skip_unreadable=True)
    assert found.identities.keys == ("ben", "anna") and found.identities.sources == ("photos: 1", "photos: 2")
    same = engine.identify(folder / "ben" / "80.png").identity
    assert np.array_equal(found.identities.vectors[0], same.vector)


@pytest.mark.parametrize("struct", [True, False])
def test_a_parquet_of_pictures(tmp_path: Path, engine: Engine, struct: bool) -> None:
    """`struct`: as the Hub and our own export write them."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    data = [photo("anna"), photo("ben"), photo("anna", 90), b"no picture"]
    pictures: list[Any] = [{"bytes": each, "path": f"{k}.png"} for k, each in enumerate(data)] if struct else data
    table = pa.table({"image": pictures, "label": [7, 8, 7, 9]})
    parquet.write_table(table, tmp_path / "people.parquet")
    found = find_people(tmp_path / "people.parquet", engine, skip_unreadable=True)
    assert found.identities.keys == ("7", "8") and found.identities.sources[0] == "photos: 2"
    assert found.unread[0].name == "9" and ("3.png" if struct else "row 4") in found.unread[0].reason
    other = find_people(
        tmp_path / "people.parquet", engine, person_column="label", picture_column="image", skip_unreadable=True
    )
    assert other.identities.sha256 == found.identities.sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no column for the person"),
        ("person,file\n", "has no rows"),
        ("person,photograph\nanna,a.png\n", "no column for the picture"),
        ("person,file\n,a.png\n", "Row 1 .* names no person"),
        ("person,file\nanna,\n", "Row 1 .* has no picture"),
        ("person,file\nanna\n", "Row 1 .* has no picture"),
        ("person,file\nanna,a.png\nAnna,a.png\n", "one name"),
        ('person,file\n"anna,a.png\n', "cannot be read"),
        ("person,file\nann\xe4,a.png\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, engine: Engine, content: str | bytes, words: str) -> None:
    table = tmp_path / "people.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "a.png").write_bytes(photo("anna"))
    with pytest.raises(InputError, match=words):
        find_people(table, engine)


def test_a_damaged_parquet_and_a_missing_column(tmp_path: Path, engine: Engine) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="as Parquet"):
        find_people(tmp_path / "a.parquet", engine)
    parquet.write_table(pa.table({"person": ["anna"], "image": [photo("anna")]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"no column 'who'; it has 'person', 'image'"):
        find_people(tmp_path / "b.parquet", engine, person_column="who")
    with pytest.raises(InputError, match="no table"):
        find_people(shutil.copy(tmp_path / "b.parquet", tmp_path / "b.xlsx"), engine)


# ---- saved identities


def test_saved_identities(tmp_path: Path, engine: Engine) -> None:
    rng = np.random.default_rng(0)
    for name in ("anna", "ben"):
        save_identity(tmp_path / "saved" / name, IdentityEmbedding(rng.standard_normal(512), "ab" * 32, 3))
    np.save(tmp_path / "saved" / "cleo.npy", rng.standard_normal(512).astype(np.float32))
    (tmp_path / "saved" / "dora.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="dora: "):
        find_people(tmp_path / "saved")
    found = find_people(tmp_path / "saved", engine, skip_unreadable=True)
    assert found.identities.keys == ("anna", "ben", "cleo") and found.identities.sources[0] == "file: anna.npz"
    assert any("anna: This identity was made by another recogniser" in words for words in found.warnings)
    assert find_people(tmp_path / "saved" / "cleo.npy").identities.keys == ("cleo",)
    with pytest.raises(InputError, match="'anna' twice"):
        from_files([tmp_path / "saved" / "anna.npz", tmp_path / "anna.npz"])
    (tmp_path / "saved" / "photo.jpg").write_bytes(photo("anna"))
    with pytest.raises(InputError, match="beside other things"):
        find_people(tmp_path / "saved")


# ---- embeddings of many


def vectors(count: int = 5) -> np.ndarray:
    return (20 * np.random.default_rng(1).standard_normal((count, 512)) / 22).astype(np.float32)


def test_embeddings_of_many_people(tmp_path: Path) -> None:
    values = vectors()
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", embeddings=values.astype(np.float64), keys=np.array(["z", "y", "x", "w", "ü"]))
    np.savez_compressed(tmp_path / "c.npz", vectors=values, ids=np.arange(5))
    assert find_people(tmp_path / "a.npy").identities.keys[4] == "person-0000005"
    assert find_people(tmp_path / "a.npy").identities.sources[1] == "embeddings: a.npy, row 2"
    for name, keys in (("b", ("z", "y", "x", "w", "ü")), ("c", tuple("01234"))):
        found = find_people(tmp_path / f"{name}.npz").identities
        assert found.keys == keys and np.allclose(found.vectors, values)


def test_a_plans_own_people_come_back_as_they_were(tmp_path: Path) -> None:
    known = Identities(("a", "b"), vectors(2), ("sampled: x", "photos: 3"), "cd" * 32)
    known.save(tmp_path / "identities.npz")
    assert find_people(tmp_path / "identities.npz").identities.sha256 == known.sha256


def test_rows_without_a_person_are_named(tmp_path: Path) -> None:
    values = vectors()
    values[1, 7], values[3] = np.nan, 0.0
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=r"2 of 5 people could not be read.*row 2: .*NaN.*row 4: .*zeros"):
        find_people(tmp_path / "a.npy")
    found = find_people(tmp_path / "a.npy", skip_unreadable=True)
    assert found.identities.keys == ("person-0000001", "person-0000003", "person-0000005") and len(found.unread) == 2


def pickled(path: Path) -> None:
    np.savez(path, vectors=np.array([{"a": 1}], dtype=object))


def bomb(path: Path) -> None:
    """A member whose header promises a terabyte."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 29, 512)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vectors.npy", stream.getvalue() + bytes(4096))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (pickled, "pickled"),
        (bomb, "damaged"),
        (lambda path: np.savez(path, vectors=np.zeros((3, 128), np.float32)), r"shape \(3, 128\)"),
        (lambda path: np.savez(path, vectors=np.zeros((0, 512), np.float32)), "holds nobody"),
        (lambda path: np.savez(path, vectors=vectors(3), keys=np.array(["a", "b"])), "3 people and keys"),
        (lambda path: np.savez(path, vectors=vectors(3), keys=np.array(["a", "b", "A"])), "one name"),
        (lambda path: np.savez(path, vectors=np.array(["a"] * 512)[None]), r"shape \(1, 512\)"),
        (lambda path: path.write_bytes(b"PK\x03\x04 damaged"), "damaged"),
    ],
)
def test_embeddings_that_cannot_be_used(tmp_path: Path, write: Callable[[Path], Any], words: str) -> None:
    write(tmp_path / "a.npz")
    with pytest.raises((EmbeddingError, InputError), match=words):
        find_people(tmp_path / "a.npz")
