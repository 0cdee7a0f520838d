from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from arc2face.errors import EmbeddingError, SettingsError, StorageError
from arc2face.faces.identities import OUTLIER_COSINE, CombineMethod, combine, load_identity, save_identity
from arc2face.types import IdentityEmbedding

HASH = "ab" * 32
CASES = Path(__file__).parent / "data" / "cases"


def person(seed: int, photo: int = 0, noise: float = 0.5, digest: str | None = HASH) -> IdentityEmbedding:
    base = np.random.default_rng(seed).normal(size=512)
    extra = np.random.default_rng([seed, photo, 1]).normal(size=512) * noise
    return IdentityEmbedding((base + extra).astype(np.float32), digest)


def test_one_photo_comes_back_unchanged() -> None:
    only = person(1)
    report = combine([only])
    assert np.array_equal(report.identity.vector, only.vector)
    assert report.cosines == (1.0,) and report.outliers == () and report.used == (0,) and report.warnings == ()


@pytest.mark.parametrize("method", ["mean", "median"])
def test_several_photos_come_closer_to_the_person(method: CombineMethod) -> None:
    photos = [person(1, k) for k in range(5)]
    truth = person(1, noise=0.0)
    report = combine(photos, method)
    assert report.identity.cosine(truth) > max(photo.cosine(truth) for photo in photos)
    assert report.identity.norm == pytest.approx(np.mean([photo.norm for photo in photos]), rel=1e-5)
    assert report.identity.photos == 5 and report.identity.recogniser_sha256 == HASH
    assert len(report.cosines) == 5 and min(report.cosines) > 0.7


def test_mean_is_the_mean_of_unit_vectors_and_median_of_each_number() -> None:
    photos = [person(1, k) for k in range(3)]
    units = np.stack([photo.normalized for photo in photos]).astype(np.float64)
    mean, median = units.mean(axis=0), np.median(units, axis=0)
    assert np.abs(combine(photos, "mean").identity.normalized - mean / np.linalg.norm(mean)).max() < 1e-6
    assert np.abs(combine(photos, "median").identity.normalized - median / np.linalg.norm(median)).max() < 1e-6


def test_cosines_leave_one_out() -> None:
    photos = [person(1, k) for k in range(3)]
    units = [photo.normalized.astype(np.float64) for photo in photos]
    rest = (units[1] + units[2]) / 2
    assert combine(photos).cosines[0] == pytest.approx(units[0] @ rest / np.linalg.norm(rest), abs=1e-6)


def test_an_outlier_is_flagged_and_left_out_on_request() -> None:
    photos = [person(1, 0), person(2), person(1, 1), person(1, 2)]
    kept = combine(photos)
    assert kept.outliers == (1,) and kept.used == (0, 1, 2, 3)
    assert kept.cosines[1] < OUTLIER_COSINE < min(kept.cosines[k] for k in (0, 2, 3))
    assert "Photo 2" in kept.warnings[0]
    dropped = combine(photos, drop_outliers=True)
    assert dropped.used == (0, 2, 3) and dropped.identity.photos == 3
    expected = combine([photos[k] for k in (0, 2, 3)])
    assert np.allclose(dropped.identity.vector, expected.identity.vector)


def test_two_outliers_are_found_one_after_the_other() -> None:
    photos = [person(1, k) for k in range(4)] + [person(2), person(3)]
    assert combine(photos).outliers == (4, 5)


def test_of_two_photos_that_disagree_none_is_blamed() -> None:
    report = combine([person(1), person(2)], drop_outliers=True)
    assert report.outliers == () and report.used == (0, 1)
    assert "different people" in report.warnings[0]


def test_combining_combined_identities_counts_photos() -> None:
    first = combine([person(1, 0), person(1, 1)]).identity
    assert combine([first, person(1, 2)]).identity.photos == 3


def test_bad_combinations() -> None:
    with pytest.raises(EmbeddingError, match="at least one"):
        combine([])
    with pytest.raises(SettingsError, match="mean or median"):
        combine([person(1)], "sum")  # type: ignore[arg-type]
    with pytest.raises(EmbeddingError, match="different recognisers"):
        combine([person(1), person(1, digest="cd" * 32)])
    with pytest.raises(EmbeddingError, match="cancel"):
        combine([IdentityEmbedding(np.ones(512, np.float32)), IdentityEmbedding(-np.ones(512, np.float32))])


def test_an_unknown_recogniser_makes_the_combination_unknown() -> None:
    assert combine([person(1), person(1, 1, digest=None)]).identity.recogniser_sha256 is None


@pytest.mark.parametrize("vector", [np.zeros(512), np.full(512, np.nan), np.ones(511), np.full(512, np.inf)])
def test_unusable_embeddings(vector: np.ndarray) -> None:
    with pytest.raises(EmbeddingError):
        IdentityEmbedding(vector)


def test_save_and_load(tmp_path: Path) -> None:
    identity = IdentityEmbedding(person(1).vector * np.float32(0.9), HASH, 4)
    path = save_identity(tmp_path / "people" / "Zoë.npz", identity)
    loaded, notes = load_identity(path, HASH)
    assert np.array_equal(loaded.vector, identity.vector)
    assert loaded.recogniser_sha256 == HASH and loaded.photos == 4 and notes == ()
    with np.load(path, allow_pickle=False) as entries:
        assert sorted(entries.files) == ["app_version", "embedding", "format", "photos", "recogniser_sha256"]
    assert path.stat().st_size < 5000
    assert save_identity(tmp_path / "plain", identity).name == "plain.npz"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["people", "plain.npz"]


def test_another_recogniser_is_a_warning(tmp_path: Path) -> None:
    path = save_identity(tmp_path / "a.npz", person(1))
    _, notes = load_identity(path, "cd" * 32)
    assert len(notes) == 1 and "another recogniser" in notes[0]


@pytest.mark.parametrize("shape", [(512,), (1, 512)])
def test_a_bare_array(tmp_path: Path, shape: tuple[int, ...]) -> None:
    vector = person(1).vector
    for dtype in (np.float32, np.float64, np.float16):
        np.save(tmp_path / "bare.npy", vector.astype(dtype).reshape(shape))
        loaded, notes = load_identity(tmp_path / "bare.npy", HASH)
        assert np.allclose(loaded.vector, vector, atol=1e-2)
        assert loaded.recogniser_sha256 is None
        assert len(notes) == 1 and "does not say" in notes[0]


@pytest.mark.parametrize(("norm", "warns"), [(1.0, False), (22.0, False), (0.1, True), (900.0, True)])
def test_the_length_of_a_bare_array(tmp_path: Path, norm: float, warns: bool) -> None:
    np.save(tmp_path / "bare.npy", person(1).normalized * np.float32(norm))
    _, notes = load_identity(tmp_path / "bare.npy")
    assert any("length" in note for note in notes) == warns


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in entries.items():
            archive.writestr(f"{name}.npy", contents)
    return buffer.getvalue()


def huge_header() -> bytes:
    return npy(np.zeros(512, np.float32)).replace(b"(512,)", b"(9**9,)"[:6])


BAD_FILES = {
    "empty": b"",
    "text": b"not an identity",
    "wrong shape": npy(np.ones(511)),
    "matrix": npy(np.ones((512, 512))),
    "nan": npy(np.full(512, np.nan)),
    "zeros": npy(np.zeros(512)),
    "overflow": npy(np.full(512, 1e300)),
    "strings": npy(np.array(["a"] * 512)),
    "complex": npy(np.ones(512, complex)),
    "truncated": npy(np.ones(512))[:900],
    "odd header": huge_header(),
    "too much promised": npy(np.ones(512)).replace(b"(512,), }   ", b"(51200000,)}"),
    "damaged header": b"\x93NUMPY\x01\x00" + npy(np.ones(2))[10:],
    "pickle": pickle.dumps([1.0] * 512),
    "zip of nothing": zipped(),
    "zip without embedding": zipped(photos=npy(np.array(1))),
    "zip of text": zipped(embedding=b"hello"),
    "zip bomb": zipped(embedding=npy(np.zeros(512)) + b"\0" * 5_000_000),
    "cut zip": zipped(embedding=npy(np.ones(512)))[:-30],
    "large": b"\x93NUMPY" + b"\0" * 2_000_000,
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / "identity.npz"
    path.write_bytes(BAD_FILES[name])
    with pytest.raises(EmbeddingError):
        load_identity(path)


def test_pickled_objects_are_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path(tmp_path / "sprung").write_text, ("x",))

    array = np.empty(512, dtype=object)
    array[:] = [Trap()] * 512
    np.save(tmp_path / "trap.npy", array, allow_pickle=True)
    np.savez(tmp_path / "trap.npz", embedding=array)
    for name in ("trap.npy", "trap.npz"):
        with pytest.raises(EmbeddingError):
            load_identity(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_missing_file_and_unwritable_place(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(EmbeddingError):
            load_identity(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save_identity(tmp_path / "file" / "a.npz", person(1))


@pytest.mark.parametrize("name", ["identity--1e38.npz", "identity--m80.npz", "identity-bz2-64MB.npz"])
def test_files_that_once_got_through(name: str) -> None:
    """K6, K10: an overflowing norm, a damaged directory, a bomb of 203 bytes."""
    with pytest.raises(EmbeddingError):
        load_identity(CASES / name)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing_is_refused_before_unpacking(method: int) -> None:
    """K6: only stored and deflated members are opened."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("embedding.npy", npy(person(1).vector))
    with pytest.raises(EmbeddingError, match="unusual"):
        load_identity(buffer.getvalue())


def test_a_false_size_is_not_believed() -> None:
    """K10: the claimed size said 1 kB, the member held 64 MB; reading stops at the limit."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embedding.npy", b"\0" * (64 << 20))
    contents = buffer.getvalue().replace(struct.pack("<I", 64 << 20), struct.pack("<I", 1000))
    tracemalloc.start()
    with pytest.raises(EmbeddingError):
        load_identity(contents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_many_members_are_refused() -> None:
    with pytest.raises(EmbeddingError, match="too large"):
        load_identity(zipped(**{f"e{k}": npy(np.zeros(1)) for k in range(17)}))


@pytest.mark.parametrize("text", ["\ud800", "x" * 64, "AB" * 32, "<b>"])
def test_text_that_is_no_hash_is_refused(text: str) -> None:
    """K6: what stands in a file does not reach a message, a page or an answer."""
    with pytest.raises(EmbeddingError):
        load_identity(zipped(embedding=npy(person(1).vector), recogniser_sha256=npy(np.array(text))))


@pytest.mark.parametrize("scale", [1e5, 1e18, 1e38])
def test_lengths_that_no_recogniser_gives_are_refused(scale: float) -> None:
    with pytest.raises(EmbeddingError, match="length"):
        load_identity(npy(person(1).normalized.astype(np.float64) * scale))


def test_identities_from_contents_open_files_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2: a path, ~, bytes, BytesIO or an open file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    save_identity("~/anna.npz", person(1))
    contents = (tmp_path / "anna.npz").read_bytes()
    for source in ("~/anna.npz", contents, bytearray(contents), io.BytesIO(contents)):
        assert np.array_equal(load_identity(source)[0].vector, person(1).vector)
    with (tmp_path / "anna.npz").open("rb") as stream:
        assert np.array_equal(load_identity(stream)[0].vector, person(1).vector)
    for source in (None, 7, io.StringIO("text"), ["a"]):
        with pytest.raises(EmbeddingError):
            load_identity(source)  # type: ignore[arg-type]


def test_damage_anywhere_is_an_embedding_error(tmp_path: Path) -> None:
    """K6: 186 raw exceptions of 900 damaged files; seeded, so that a failure can be repeated."""
    contents = save_identity(tmp_path / "a.npz", person(1)).read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(600):
        damaged = bytearray(contents)
        for place in rng.integers(0, len(damaged), rng.integers(1, 9)):
            damaged[place] = rng.integers(0, 256)
        try:
            identity, _ = load_identity(damaged[: rng.integers(1, len(damaged) + 1)] if rng.random() < 0.3 else damaged)
        except EmbeddingError:
            continue
        assert 1e-6 < identity.norm <= 1e4
