"""The original files: found, read without executing anything, converted once, accounted for."""

from __future__ import annotations

import os
import pickle
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import arc2face_emoca as emoca
from arc2face_emoca.files import read_expression_flags
from tests import recipe3d
from tests.recipe3d import CHECKPOINT, GOLDENS, PICKLE, TEMPLATE, drawn_faces, flame_arrays, geometry, small_encoder


def small_entries(*, head: bool = True, expression: int = 50) -> dict[str, torch.Tensor]:
    entries = emoca.checkpoint_entries(small_encoder(236, 1), small_encoder(expression, 2), geometry())
    return entries if head else {name: value for name, value in entries.items() if ".E_" in name}


def tiny_arrays() -> dict[str, np.ndarray]:
    return dict(recipe3d.golden("generic_model_tiny_expected"))


class Payload:
    """Creates a file when it is unpickled by something that executes what it reads."""

    def __init__(self, target: Path, function: Any = os.mkdir, argument: Any = None) -> None:
        self.call = function, (str(target) if argument is None else argument,)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2])
def test_genuine_python2_pickles(protocol: int) -> None:
    found = emoca.read_plain_pickle(GOLDENS / f"generic_model_tiny_py2_proto{protocol}.pkl")
    with np.load(GOLDENS / "generic_model_tiny_expected.npz") as wanted:
        for name in wanted.files:
            assert np.array_equal(found[name], wanted[name]), name
            assert found[name].dtype == wanted[name].dtype
    assert found["bs_type"] == "lrotmin"
    head = emoca.FlameGeometry.from_pickle(GOLDENS / f"generic_model_tiny_py2_proto{protocol}.pkl")
    assert head.parents.tolist() == [-1, 0, 1, 1, 1]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_of_this_python(tmp_path: Path, protocol: int) -> None:
    arrays = tiny_arrays()
    head = emoca.FlameGeometry.from_pickle(recipe3d.write_flame_pickle(tmp_path / "head.pkl", arrays, protocol))
    wanted = emoca.FlameGeometry.from_arrays(arrays)
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "lbs_weights", "faces"):
        assert torch.equal(getattr(head, name), getattr(wanted, name)), name


def test_fortran_order_and_big_endian_arrays(tmp_path: Path) -> None:
    values = np.arange(12, dtype=">f8").reshape(3, 4)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.asfortranarray(values), "b": np.float64(2.5)}, 2))
    found = emoca.read_plain_pickle(tmp_path / "a.pkl")
    assert np.array_equal(found["a"], values)
    assert found["a"].dtype == np.float64
    assert found["b"] == 2.5


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, protocol: int) -> None:
    content = {**tiny_arrays(), "extra": Payload(tmp_path / "executed")}
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(emoca.CorruptAssetError, match=r"nothing in it was executed.*mkdir"):
        emoca.FlameGeometry.from_pickle(tmp_path / "bad.pkl")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"c__builtin__\ngetattr\n(c__builtin__\nobject\nS'__class__'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(tR}S'__class__'\nNsb.",
        b"c__builtin__\nset\n}S'_function'\nNs(tb.",
        b"\x80\x02cchumpy.ch\nCh\n}b.",
        b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.sys\x93.",
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        b"P1\n.",
        b"\x82\x01.",
        b"",
        b"not a pickle at all",
        b"]q\x00.",
    ],
)
def test_odd_pickles_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "odd.pkl").write_bytes(data)
    with pytest.raises(emoca.CorruptAssetError):
        emoca.read_plain_pickle(tmp_path / "odd.pkl")


def test_object_arrays_and_truncation_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.array([None, 1], dtype=object)}, 2))
    whole = recipe3d.write_flame_pickle(tmp_path / "b.pkl", tiny_arrays()).read_bytes()
    (tmp_path / "b.pkl").write_bytes(whole[: len(whole) // 2])
    for name in ("a.pkl", "b.pkl"):
        with pytest.raises(emoca.CorruptAssetError):
            emoca.read_plain_pickle(tmp_path / name)
    with pytest.raises(emoca.UsageError):
        emoca.read_plain_pickle(tmp_path / "missing.pkl")


def test_other_pickles_are_incompatible(tmp_path: Path) -> None:
    arrays = tiny_arrays()
    (tmp_path / "few.pkl").write_bytes(pickle.dumps({"v_template": arrays["v_template"]}, 2))
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps({**arrays, "posedirs": 3.0}, 2))
    with pytest.raises(emoca.IncompatibleAssetError, match="shapedirs"):
        emoca.FlameGeometry.from_pickle(tmp_path / "few.pkl")
    with pytest.raises(emoca.IncompatibleAssetError):
        emoca.FlameGeometry.from_pickle(tmp_path / "odd.pkl")


def test_lightning_checkpoint_is_read_and_accounted_for(tmp_path: Path) -> None:
    entries = small_entries() | {"deca.D_detail.conv.weight": torch.zeros(2), "other.thing": torch.zeros(1)}
    found = emoca.read_checkpoint(recipe3d.write_checkpoint(tmp_path / "a.ckpt", entries))
    assert found.geometry is not None
    assert torch.equal(found.geometry.faces, drawn_faces())
    assert torch.equal(found.geometry.flame_faces, geometry().flame_faces)
    assert "deca.D_detail.conv.weight" in found.unused
    assert found.unknown == ("other.thing",)
    wanted, crop = small_encoder(236, 1), torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(found.flame_encoder(crop), wanted(crop))


def test_checkpoints_of_other_habits_are_read(tmp_path: Path) -> None:
    entries = small_entries()
    wanted = geometry().v_template
    with recipe3d.foreign_class("omegaconf.dictconfig", "DictConfig") as config:
        foreign = config()
        foreign.__dict__["content"] = {"a": np.float64(3)}
        torch.save({"state_dict": entries, "hyper_parameters": foreign}, tmp_path / "foreign.ckpt")
    torch.save({"state_dict": entries}, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    floats = {name: value for name, value in entries.items() if value.is_floating_point()}
    parameters = entries | {name: torch.nn.Parameter(value) for name, value in floats.items()}
    torch.save({"state_dict": parameters}, tmp_path / "parameters.ckpt")
    torch.save(entries | {name: value.double() for name, value in floats.items()}, tmp_path / "flat.ckpt")
    for name in ("foreign", "legacy", "parameters", "flat"):
        found = emoca.load(tmp_path / f"{name}.ckpt", cache_dir=tmp_path / "cache")
        assert torch.equal(found.geometry.v_template, wanted), name
        assert not found.geometry.v_template.requires_grad


def test_malicious_checkpoint_is_not_executed(tmp_path: Path) -> None:
    torch.save({"state_dict": small_entries(), "callbacks": Payload(tmp_path / "executed")}, tmp_path / "bad.ckpt")
    with pytest.raises(emoca.CorruptAssetError, match="nothing in it was executed"):
        emoca.read_checkpoint(tmp_path / "bad.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Payload(tmp_path / "executed"), 2))
    with pytest.raises(emoca.CorruptAssetError):
        emoca.read_checkpoint(tmp_path / "plain.ckpt")
    payload = Payload(tmp_path / "executed", subprocess.call, ["mkdir", str(tmp_path / "executed")])
    torch.save({"state_dict": small_entries(), "callbacks": payload}, tmp_path / "call.ckpt")
    with pytest.raises(emoca.CorruptAssetError, match=r"nothing in it was executed.*(commands|subprocess)\.call"):
        emoca.read_checkpoint(tmp_path / "call.ckpt")
    payload = Payload(tmp_path / "executed", warnings.warn, "a class of a training framework stays a name")
    torch.save({"state_dict": small_entries(), "callbacks": payload}, tmp_path / "foreign.ckpt")
    assert emoca.read_checkpoint(tmp_path / "foreign.ckpt").geometry is not None
    assert not (tmp_path / "executed").exists()


def test_wrong_checkpoints_are_named(tmp_path: Path) -> None:
    entries = small_entries()
    half = {name: value for name, value in entries.items() if not name.endswith("E_flame.layers.2.bias")}
    cases: list[tuple[Any, str]] = [
        ({"state_dict": half}, r"missing: layers\.2\.bias"),
        ({"state_dict": {"unet.weight": torch.zeros(1)}}, "not EMOCA's checkpoint"),
        ([1, 2], "no state_dict"),
        ({"state_dict": small_entries(expression=51)}, "50 or 53 or 56"),
    ]
    for index, (content, words) in enumerate(cases):
        torch.save(content, tmp_path / f"{index}.ckpt")
        with pytest.raises(emoca.IncompatibleAssetError, match=words):
            emoca.read_checkpoint(tmp_path / f"{index}.ckpt")
    whole = (tmp_path / "0.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(emoca.CorruptAssetError, match="truncated"):
        emoca.read_checkpoint(tmp_path / "cut.ckpt")


def test_load_takes_the_head_from_the_checkpoint_and_else_from_the_pickle(tmp_path: Path) -> None:
    assets, cache = tmp_path / "assets", tmp_path / "cache"
    changed = {**flame_arrays(), "v_template": flame_arrays()["v_template"] * 2}
    recipe3d.write_flame_pickle(assets / PICKLE, changed)
    recipe3d.write_template(assets / TEMPLATE)
    recipe3d.write_checkpoint(assets / CHECKPOINT, small_entries())
    assert torch.equal(emoca.load(assets, cache_dir=cache).geometry.v_template, geometry().v_template)
    recipe3d.write_checkpoint(assets / CHECKPOINT, small_entries(head=False))
    again = emoca.load(assets, cache_dir=cache)
    assert torch.equal(again.geometry.v_template, geometry().v_template * 2)
    assert torch.equal(again.geometry.faces, drawn_faces())
    (assets / PICKLE).unlink()
    with pytest.raises(emoca.MissingAssetError, match="generic_model"):
        emoca.load(assets, cache_dir=cache)


def test_later_loads_read_only_the_cache_until_a_source_changes(tmp_path: Path) -> None:
    """C8: a source of equal size and modification time is noticed, too."""
    assets, cache = tmp_path / "assets", tmp_path / "cache"
    path = recipe3d.write_checkpoint(assets / CHECKPOINT, small_entries())
    first = emoca.load(assets, cache_dir=cache)
    (copy,) = cache.iterdir()
    stamp, status = copy.stat().st_mtime_ns, path.stat()
    assert torch.equal(emoca.load(assets, cache_dir=cache).geometry.shapedirs, first.geometry.shapedirs)
    assert copy.stat().st_mtime_ns == stamp
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(emoca.CorruptAssetError):
        emoca.load(assets, cache_dir=cache)
    entries = small_entries()
    entries["deca.flame.v_template"] = entries["deca.flame.v_template"] + 1
    recipe3d.write_checkpoint(path, entries)
    assert torch.equal(emoca.load(assets, cache_dir=cache).geometry.v_template, geometry().v_template + 1)


def test_damaged_or_unwritable_cache_is_no_obstacle(tmp_path: Path) -> None:
    assets, cache = tmp_path / "assets", tmp_path / "cache"
    recipe3d.write_checkpoint(assets / CHECKPOINT, small_entries())
    first = emoca.load(assets, cache_dir=cache)
    (copy,) = cache.iterdir()
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert torch.equal(emoca.load(assets, cache_dir=cache).geometry.faces, first.geometry.faces)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert torch.equal(emoca.load(assets, cache_dir=blocked / "x").geometry.faces, first.geometry.faces)


def test_best_checkpoint_and_first_folder_win(tmp_path: Path) -> None:
    folder = (tmp_path / "a" / CHECKPOINT).parent.parent
    folder.mkdir(parents=True)
    names = ["x=4.5.ckpt", "deeper/x=3.25.ckpt", "last=1.0.ckpt", "nothing.ckpt"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    recipe3d.write_template(tmp_path / "b" / TEMPLATE)
    found = emoca.AssetFiles.find([tmp_path / "b", tmp_path / "a"])
    assert found.checkpoint == folder / "deeper" / "x=3.25.ckpt"
    assert found.template == tmp_path / "b" / TEMPLATE
    assert found.flame is None


def test_missing_files_say_where_to_register(tmp_path: Path) -> None:
    for load in (emoca.load, emoca.load_geometry):
        with pytest.raises(emoca.MissingAssetError) as caught:
            load(tmp_path)
        for words in (
            "flame.is.tue.mpg.de",
            "emoca.is.tue.mpg.de",
            str(tmp_path),
            "EMOCA_v2_lr_mse_20",
            "generic_model.pkl",
        ):
            assert words in str(caught.value)


def test_head_alone_from_pickle_or_checkpoint(tmp_path: Path) -> None:
    recipe3d.write_flame_pickle(tmp_path / "a" / PICKLE)
    recipe3d.write_checkpoint(tmp_path / "b" / CHECKPOINT, small_entries())
    for name in ("a", "b"):
        model = emoca.load_geometry(tmp_path / name, cache_dir=tmp_path / "cache")
        assert model.flame_encoder is None
        assert torch.equal(model.geometry.v_template, geometry().v_template)


def test_template_faces_and_broken_templates(tmp_path: Path) -> None:
    assert torch.equal(emoca.read_template_faces(recipe3d.write_template(tmp_path / "t.obj")), drawn_faces())
    for text in ("v 0 0 0\n", "f 1 2 3 4\n", "f a b c\n", "f 0 1 2\n", "f 1 2 99999999999999999999\n", "f\n"):
        (tmp_path / "bad.obj").write_text(text)
        with pytest.raises(emoca.CorruptAssetError):
            emoca.read_template_faces(tmp_path / "bad.obj")


def test_wide_expression_heads_follow_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "cfg.yaml"
    config.write_text(
        "coarse:\n  model:\n    exp_deca_jaw_pose: false\n    exp_deca_global_pose: true\n"
        "detail:\n  model:\n    exp_deca_jaw_pose: true  # jaw too\n    exp_deca_global_pose: false\n"
    )
    assert read_expression_flags(config, 50) == (False, False)
    assert read_expression_flags(config, 53) == (False, True)
    for width, file in ((53, None), (56, config)):
        with pytest.raises(emoca.IncompatibleAssetError, match=str(width)):
            read_expression_flags(file, width)
    crop = torch.rand(2, 3, 224, 224)
    wide = small_encoder(53, 2)
    codes = emoca.Emoca(geometry(), small_encoder(236, 1), wide, expression_extras=(False, True)).encode(crop)
    with torch.inference_mode():
        assert torch.equal(codes.pose[:, 3:], wide(crop)[:, 50:])
    assert codes.exp.shape == (2, 50)


@pytest.mark.slow
def test_full_size_checkpoint_in_the_original_tree(tmp_path: Path) -> None:
    entries = {
        f"deca.{name}.{key}": value
        for name in recipe3d.ENCODERS
        for key, value in recipe3d.encoder_entries(name).items()
    }
    recipe3d.write_checkpoint(tmp_path / CHECKPOINT, entries | geometry().to_buffers())
    recorded = recipe3d.golden("emoca_encode_flame")
    crops = recorded["enc_crops_u8"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    for _ in range(2):  # converted, then from the cache
        codes = emoca.load(tmp_path, cache_dir=tmp_path / "cache").encode(crops)
        assert np.abs(codes.pose.numpy() - recorded["enc_code_posecode"]).max() < 1e-4
        assert np.abs(codes.exp.numpy() - recorded["enc_code_expcode"]).max() < 1e-4
