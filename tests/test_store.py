"""Hashes, and checkpoints of every format read safely and converted once."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arc2face.errors import CorruptWeightsError, MissingWeightsError, StorageError
from arc2face.weights.sniff import read_safetensors_header, what_is_wrong
from arc2face.weights.store import cache_folder, load_state_dict, replace_with, sha256_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def converted(cache: Path) -> list[Path]:
    return sorted(cache.glob("converted/*/*.safetensors"))


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(4, 3)
    return {"a.weight": weight, "b.half": weight.half(), "c.transposed": weight.t(), "d.shared": weight[1:]}


def same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> bool:
    return sorted(got) == sorted(want) and all(
        torch.equal(got[k], want[k]) and got[k].dtype == want[k].dtype for k in want
    )


def test_sha256_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    assert sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert sha256_of(path) == hashlib.sha256(b"two").hexdigest()


def test_sha256_uses_its_cache_and_survives_a_broken_one(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    first = sha256_of(path)
    cache = own_cache / "hashes.json"
    known = json.loads(cache.read_text())
    known[str(path.resolve())][-1] = "f" * 64
    cache.write_text(json.dumps(known))
    assert sha256_of(path) == "f" * 64
    cache.write_text("{ not json")
    assert sha256_of(path) == first


def test_sha256_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="arc2face doctor"):
        sha256_of(tmp_path / "f")


def test_an_unwritable_cache_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_bytes(b"")
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "plain" / "cache"))
    torch.save(tensors(), tmp_path / "w.bin")
    assert len(sha256_of(tmp_path / "w.bin")) == 64
    assert same(load_state_dict(tmp_path / "w.bin"), tensors())


def test_safetensors_are_read_as_they_are(tmp_path: Path, own_cache: Path) -> None:
    separate = {k: v.clone().contiguous() for k, v in tensors().items()}
    save_file(separate, tmp_path / "w.safetensors")
    assert same(load_state_dict(tmp_path / "w.safetensors"), separate)
    assert converted(own_cache) == []


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_converted_once(tmp_path: Path, own_cache: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(tensors(), path, _use_new_zipfile_serialization=zipped)
    assert same(load_state_dict(path), tensors())
    (copy,) = converted(own_cache)
    assert copy.parent.name == hashlib.sha256(path.read_bytes()).hexdigest()
    stamp = copy.stat().st_mtime_ns
    assert same(load_state_dict(path), tensors())
    assert copy.stat().st_mtime_ns == stamp


def test_a_damaged_converted_copy_is_made_anew(tmp_path: Path, own_cache: Path) -> None:
    torch.save(tensors(), tmp_path / "w.bin")
    load_state_dict(tmp_path / "w.bin")
    (copy,) = converted(own_cache)
    copy.write_bytes(copy.read_bytes()[:-5])
    assert same(load_state_dict(tmp_path / "w.bin"), tensors())
    assert what_is_wrong(copy) is None


def test_nested_dictionaries_and_lightning_checkpoints(tmp_path: Path) -> None:
    one = torch.ones(2)
    torch.save(
        {"image_proj": {"proj.weight": one}, "ip_adapter": {"1.to_k_ip.weight": one}, "step": 3}, tmp_path / "a.bin"
    )
    assert sorted(load_state_dict(tmp_path / "a.bin")) == ["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"]
    torch.save({"epoch": 3, "state_dict": {"net.weight": one}, "optimizer_states": [one]}, tmp_path / "b.ckpt")
    assert sorted(load_state_dict(tmp_path / "b.ckpt")) == ["net.weight"]


class Payload:
    """Runs `touch`-like code when it is unpickled without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("plain", [True, False])
def test_a_malicious_pickle_is_refused_and_never_executed(tmp_path: Path, plain: bool) -> None:
    trap = tmp_path / "executed"
    path = tmp_path / "w.bin"
    if plain:
        path.write_bytes(pickle.dumps({"w": Payload(trap)}, protocol=2))
    else:
        torch.save({"w": torch.ones(1), "p": Payload(trap)}, path)
    with pytest.raises(CorruptWeightsError, match="nothing in it was executed"):
        load_state_dict(path)
    assert not trap.exists()


def write_safetensors(path: Path) -> None:
    save_file({"w": torch.ones(100)}, path)


def write_torch(path: Path) -> None:
    torch.save({"w": torch.ones(100)}, path)


@pytest.mark.parametrize(("name", "write"), [("w.safetensors", write_safetensors), ("w.bin", write_torch)])
@pytest.mark.parametrize("damage", ["truncated", "empty", "html", "lfs", "zeros"])
def test_damaged_files_are_named(tmp_path: Path, name: str, write: object, damage: str) -> None:
    path = tmp_path / name
    assert callable(write)
    write(path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "empty": b"",
            "html": b"<!DOCTYPE html><html></html>",
            "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n",
            "zeros": bytes(len(data)),
        }[damage]
    )
    assert what_is_wrong(path)
    with pytest.raises(CorruptWeightsError, match=name):
        load_state_dict(path)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "w.pt")
    with pytest.raises(CorruptWeightsError, match="no named tensors"):
        load_state_dict(tmp_path / "w.pt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="arc2face doctor"):
        load_state_dict(tmp_path / "w.pt")


def test_safetensors_header(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "w.safetensors")
    assert read_safetensors_header(tmp_path / "w.safetensors")["w"]["shape"] == [100]
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(ValueError, match="damaged or cut off"):
        read_safetensors_header(tmp_path / "x.safetensors")


def test_sniffing_other_formats(tmp_path: Path) -> None:
    cases = {
        "a.onnx": (b"\x08\x08\x12", None),
        "b.onnx": (b"PK\x03\x04", "does not start like an ONNX"),
        "c.json": (b'{"a": 1}', None),
        "d.json": (b'{"a": ', "not valid JSON"),
        "e.zip": (b"PK\x03\x04 cut", "zip directory is missing"),
        "f.txt": (b"anything", None),
    }
    for name, (data, problem) in cases.items():
        (tmp_path / name).write_bytes(data)
        found = what_is_wrong(tmp_path / name)
        assert found is None if problem is None else found is not None and problem in found
    with zipfile.ZipFile(tmp_path / "g.task", "w"):
        pass
    assert what_is_wrong(tmp_path / "g.task") == "it is an empty zip file"
    (tmp_path / "h.part").write_bytes(b"PK")
    assert what_is_wrong(tmp_path / "h.part", "h.onnx") is not None


def test_replace_with_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "f"
    with replace_with(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    with pytest.raises(RuntimeError), replace_with(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert [p.name for p in target.parent.iterdir()] == ["f"] and target.read_bytes() == b"new"
    with pytest.raises(StorageError, match="could not be written"), replace_with(target / "below"):
        pass


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ARC2FACE_CACHE")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "arc2face"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_new_files_are_readable_by_others(tmp_path: Path) -> None:
    with replace_with(tmp_path / "file") as temporary:
        temporary.write_text("x")
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert (tmp_path / "file").stat().st_mode == plain.stat().st_mode
