"""The door for checkpoints: whatever the file is, either its tensors come out or one clear error (K4).

No file may run anything, hang, or take more memory than it has bytes. The hostile files lie in `data/cases` or are
made here; memory is bounded by the operating system in a process of its own, work by the number of steps.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import arc2face_emoca as emoca
from arc2face.errors import CorruptWeightsError, WeightsError
from arc2face.weights.sniff import what_is_wrong
from arc2face.weights.store import load_state_dict
from arc2face_emoca.inert import RefusedError
from arc2face_emoca.pickles import read_plain_pickle_bytes
from arc2face_emoca.torchfile import read_torch_file

CASES = Path(__file__).parent / "data" / "cases"
PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))


def rezip(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes a torch zip file anew with changed members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
    path.write_bytes(buffer.getvalue())


def zip_bomb(path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, path)
    rezip(path, lambda name, data: bytes(300 << 20) if name.endswith("data/0") else data, zipfile.ZIP_DEFLATED)


def expanded(path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1 << 31)}, path)


def many_views(path: Path) -> None:
    base = torch.zeros(100_000)
    torch.save({f"w{i}": base for i in range(2000)}, path)


def cyclic(path: Path) -> None:
    loop: dict[str, Any] = {"w": torch.zeros(1)}
    loop["again"] = loop
    torch.save(loop, path)


def sparse(path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, path)


def meta(path: Path) -> None:
    torch.save({"w": torch.zeros(3, device="meta")}, path)


def surrogate(path: Path) -> None:
    torch.save({"\ud800": torch.zeros(3)}, path)


def long_name(path: Path) -> None:
    torch.save({"n" * 5000: torch.zeros(3)}, path)


def lying_storage(path: Path) -> None:
    """The pickle says ten thousand values where the file holds ten: a careless reader reads beyond the buffer."""
    torch.save({"w": torch.zeros(10)}, path)
    rezip(path, lambda name, data: data.replace(b"K\n", b"M\x10'") if name.endswith("data.pkl") else data)


def wrong_shape(path: Path) -> None:
    torch.save({"w": torch.zeros(3, 4)}, path)
    rezip(path, lambda name, data: data.replace(b"K\x03K\x04\x86", b"K\x7fK\x7f\x86") if "data.pkl" in name else data)


def odd_persistent_id(path: Path) -> None:
    """K4: in the old format these were AssertionErrors."""
    torch.save({"w": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"storage", b"storexx", 1))


def flipped_checksum(path: Path) -> None:
    torch.save({"w": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flipped_directory(path: Path) -> None:
    """Medium: one flipped bit in a zip directory was a UnicodeDecodeError."""
    torch.save({"w": torch.zeros(3)}, path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"archive/data.pkl" if b"archive/data.pkl" in data else b"/data.pkl")
    header = data.rindex(b"PK\x01\x02", 0, at)
    data[header + 9] |= 0x08  # "names are UTF-8"
    data[at] = 0xFF
    path.write_bytes(data)


def endless_steps(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"]0" * 2_000_000 + b".")


def nested(path: Path) -> None:
    value: Any = {"w": torch.zeros(1)}
    for _ in range(200):
        value = {"a": value}
    torch.save(value, path)


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


HOSTILE = [
    zip_bomb, expanded, many_views, cyclic, sparse, meta, surrogate, long_name, lying_storage, wrong_shape,
    odd_persistent_id, flipped_checksum, flipped_directory, endless_steps, nested, script,
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hostile_checkpoints_are_one_clear_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "w.bin"
    make(path)
    with pytest.raises(CorruptWeightsError, match=r"w\.bin"):
        load_state_dict(path)
    assert not list(tmp_path.glob("cache/converted/*/*"))
    with pytest.raises(emoca.EmocaError, match=r"w\.bin"):
        emoca.read_checkpoint(path)


BOUNDED = """
import resource, sys
from pathlib import Path
import torch, arc2face_emoca as emoca, safetensors.torch
from arc2face.errors import WeightsError
from arc2face.weights.store import load_state_dict
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20),) * 2)
for name in sys.argv[1:]:
    try:
        if name.endswith(".pkl"):
            emoca.read_plain_pickle(name)
        elif name.endswith(".ckpt"):
            emoca.read_checkpoint(name)
        else:
            load_state_dict(Path(name))
    except (WeightsError, emoca.EmocaError) as error:
        print("refused", name, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_hostile_files_take_no_memory(tmp_path: Path) -> None:
    """K4 and Medium: with 400 MB of room each is refused, none is a MemoryError or a crash."""
    made = [tmp_path / f"{make.__name__}.bin" for make in HOSTILE]
    for make, path in zip(HOSTILE, made, strict=True):
        make(path)
    (tmp_path / "memo.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    (tmp_path / "claims.pkl").write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".")
    (tmp_path / "shared.pkl").write_bytes(
        b"\x80\x02}X\x01\x00\x00\x00a](" + b"h\x01" * 0 + b"esX\x01\x00\x00\x00b" + b"]0" * 9 + b"."
    )
    cases = [
        path for path in sorted(CASES.iterdir()) if path.suffix in (".bin", ".pt", ".ckpt", ".pkl", ".safetensors")
    ]
    every = [*made, *cases, tmp_path / "memo.pkl", tmp_path / "claims.pkl", tmp_path / "shared.pkl"]
    command = [sys.executable, "-c", BOUNDED, *map(str, every)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    refused = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("refused")}
    assert refused == set(map(str, every))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bin--t-cyclic-dict-zip.bin", "nested too deeply, or hold themselves"),
        ("bin--t-meta-zip.bin", "tensors without values"),
        ("bin--t-quant-old.bin", "storage of an unknown kind"),
        ("smirk--t-sparse-zip.pt", "sparse tensors"),
        ("safetensors--inf.safetensors", "header is damaged"),
    ],
)
def test_recorded_checkpoints(name: str, words: str) -> None:
    with pytest.raises(CorruptWeightsError, match=words):
        load_state_dict(CASES / name)


def test_recorded_emoca_files() -> None:
    with pytest.raises(emoca.CorruptAssetError, match="nothing in it was executed"):
        emoca.read_checkpoint(CASES / "emoca-ckpt--m387.ckpt")
    with pytest.raises(emoca.CorruptAssetError, match="nested too deeply"):
        emoca.read_plain_pickle(CASES / "flame-pickle--h-billion.pkl")


def test_keys_that_double_their_cost_with_every_level() -> None:
    """Medium: 183 bytes took 4.4 s, four times that per two levels; here are sixty levels."""
    tower = b"K\x01" + b"2\x86" * 60
    with pytest.raises(emoca.CorruptAssetError, match="neither text nor numbers"):
        read_plain_pickle_bytes(b"\x80\x02}" + tower + b"K\x01s.")


def test_one_array_named_many_times_is_built_once(tmp_path: Path) -> None:
    import numpy as np

    array = np.arange(1000.0)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({str(i): array for i in range(500)}, 2))
    found = emoca.read_plain_pickle(tmp_path / "a.pkl")
    assert len({id(value) for value in found.values()}) == 1 and np.array_equal(found["7"], array)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool]
)
def test_every_plain_dtype_and_layout_reads_as_torch_reads_it(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    base = (torch.arange(24) % 2).reshape(4, 6).to(dtype)
    saved = {"t": base.t(), "row": base[1], "column": base[:, 2], "none": base[:0], "one": base[0, 0], "p": base}
    torch.save({"state_dict": saved, "epoch": 3}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / "w.pt")
    wanted = torch.load(tmp_path / "w.pt", weights_only=True)["state_dict"]
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == dtype and found[name].shape == tensor.shape


def test_a_compressed_checkpoint_is_read_within_reason(tmp_path: Path) -> None:
    """The starter's EMOCA file is one; torch reads them, too."""
    torch.manual_seed(0)
    torch.save({"w": torch.randn(5000).half().float()}, tmp_path / "w.pt")
    wanted = torch.load(tmp_path / "w.pt", weights_only=True)["w"]
    rezip(tmp_path / "w.pt", lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "w.pt").stat().st_size < 20_000
    assert torch.equal(read_torch_file(tmp_path / "w.pt")["w"], wanted)


def test_every_checkpoint_that_is_shipped_reads_as_torch_reads_it() -> None:
    shipped = [path for folder in ("models", "tests/data/tiny") for path in (PROJECT / folder).rglob("*")]
    names = [path for path in shipped if path.suffix in (".bin", ".pt", ".ckpt")]
    assert len(names) >= 5
    for path in names:
        found = read_torch_file(path, foreign=True)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        wanted = flat(loaded.get("state_dict", loaded))
        assert list(found) == list(wanted), path
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), path


def flat(value: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    found: dict[str, torch.Tensor] = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def test_modules_parameters_and_float8(tmp_path: Path) -> None:
    linear = torch.nn.Linear(3, 2)
    eight = torch.ones(4).to(torch.float8_e4m3fn)
    torch.save({"a": linear.state_dict(), "b": {"p": linear.weight}, "c": eight}, tmp_path / "w.pt")
    found = read_torch_file(tmp_path / "w.pt")
    assert list(found) == ["a.weight", "a.bias", "b.p", "c"]
    assert torch.equal(found["b.p"], linear.weight) and found["c"].dtype == torch.float8_e4m3fn


def test_an_empty_lora_is_refused(tmp_path: Path) -> None:
    """C8."""
    save_file({}, tmp_path / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptWeightsError, match="no named tensors"):
        load_state_dict(tmp_path / "pytorch_lora_weights.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,true]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        b'{"a":5}',
        b"[]",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,NaN]}}',
    ],
)
def test_strange_safetensors_headers(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert what_is_wrong(path)
    with pytest.raises(CorruptWeightsError, match=r"w\.safetensors"):
        load_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_checkpoints_are_read_or_refused(tmp_path: Path, zipped: bool) -> None:
    """Seeded: bytes changed, removed and doubled anywhere; what is read has the right names or is refused."""
    torch.save({"a.weight": torch.ones(4, 3), "b": {"bias": torch.zeros(5)}}, tmp_path / "w.bin",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    whole = (tmp_path / "w.bin").read_bytes()
    rng, refused = random.Random(7), 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            choice = rng.randrange(3)
            if choice == 0:
                data[at] = rng.randrange(256)
            elif choice == 1:
                del data[at : at + rng.randint(1, 40)]
            else:
                data[at:at] = data[at : at + rng.randint(1, 40)]
        (tmp_path / "m.bin").write_bytes(data)
        try:
            found = read_torch_file(tmp_path / "m.bin", foreign=True)
        except RefusedError:
            refused += 1
        else:
            assert all(isinstance(value, torch.Tensor) for value in found.values())
    assert refused > 100


def test_a_file_that_cannot_be_kept_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K21: a full cache disk makes safetensors raise an error that is no OSError."""
    from safetensors import SafetensorError

    def full(*args: Any, **options: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    torch.save({"w": torch.ones(3)}, tmp_path / "w.bin")
    assert torch.equal(load_state_dict(tmp_path / "w.bin")["w"], torch.ones(3))
    assert not [path for path in (tmp_path / "cache" / "converted").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "data",
    [b"", b"<html></html>", b"[]", b"null", b"\xff\xfe\x00", b'{"kind":' * 4000, b'{"kind": "foo"}', b'{"kind": 5}',
     b'{"kind": "\\ud800"}', json.dumps({"kind": ["full"]}).encode()],
)  # fmt: skip
def test_a_damaged_bundle_file_is_said_before_anything_starts(tmp_path: Path, data: bytes) -> None:
    """K5."""
    from arc2face.doctor.files import check_files
    from arc2face.weights.folder import best_bundle

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "bundle.json").write_bytes(data)
    with pytest.raises(WeightsError, match=r"bundle\.json"):
        best_bundle(tmp_path / "m")
    (only,) = check_files(tmp_path / "m", True)
    assert only.status == "error" and "bundle.json" in only.detail
