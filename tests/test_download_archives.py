"""Weights that come in archives, and from mirrors."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from arc2face.errors import Arc2FaceError, DownloadError, SettingsError
from arc2face.weights.download import Options, plan_files
from arc2face.weights.download.sources import Remote
from arc2face.weights.table import Archive, WeightFile
from tests.downloading import CONFIG, ONNX, UNET, go, hf, hub, make_zip, online, options, sha
from tests.hub_server import Hub, drop

__all__ = ["hub", "online"]  # fixtures


ANTELOPE = Archive("antelope", "antelope.zip", "antelopev2", (), "insightface")


def packed(data: bytes | None = None) -> WeightFile:
    file = WeightFile("d", "antelopev2/d.onnx", "Detector", "insightface", "archive", "antelope", "antelopev2/d.onnx")
    return replace(file, bytes=len(data), sha256=sha(data)) if data is not None else file


def archives(hub: Hub, data: bytes, *urls: str) -> dict[str, Archive]:
    hub.files["antelope.zip"] = data
    return {"antelope": replace(ANTELOPE, urls=urls or (hub.url("antelope.zip"),), sha256=sha(data), bytes=len(data))}


def test_only_wanted_members_leave_the_zip(hub: Hub, tmp_path: Path) -> None:
    zipped = make_zip({"antelopev2/d.onnx": ONNX, "antelopev2/glintr100.onnx": ONNX, "readme.txt": b"hello"})
    go(plan_files([packed(ONNX)], tmp_path, options(hub), archives(hub, zipped)))
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        ".download.lock",
        "antelopev2/d.onnx",
        "checksums.json",
    ]


def test_a_second_address_helps_when_the_first_is_gone(hub: Hub, tmp_path: Path) -> None:
    zipped = make_zip({"antelopev2/d.onnx": ONNX})
    hub.files["drive"] = zipped
    known = archives(hub, zipped, hub.url("moved/antelope.zip"), "drive:someid")
    assert go(plan_files([packed(ONNX)], tmp_path, options(hub), known)) == ["antelopev2/d.onnx"]
    assert "id=someid" in hub.seen[-1].query


@pytest.mark.parametrize("name", ["../antelopev2/d.onnx", "/antelopev2/d.onnx", "C:/antelopev2/d.onnx"])
def test_a_zip_that_wants_out_is_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    zipped = make_zip({name: ONNX})
    with pytest.raises(DownloadError, match="unsafe entry"):
        go(plan_files([packed()], tmp_path / "models", options(hub), archives(hub, zipped)))
    assert not list(tmp_path.rglob("*.onnx"))


def test_links_in_a_zip_are_refused(hub: Hub, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("antelopev2/d.onnx")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="unsafe entry"):
        go(plan_files([packed()], tmp_path, options(hub), archives(hub, buffer.getvalue())))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"readme.txt": b"x"}, "its layout has changed"),
        ({"antelopev2/d.onnx": b"<html>"}, "it is a web page"),
        ({"antelopev2/d.onnx": b"\x08\x08 other"}, "came out of its zip file damaged"),
    ],
)
def test_zips_with_other_contents(hub: Hub, tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(DownloadError, match=message):
        go(plan_files([packed(ONNX)], tmp_path, options(hub), archives(hub, make_zip(members))))
    assert not list(tmp_path.rglob("*.onnx"))


def test_checkpoints_with_unknown_names_keep_their_folders(hub: Hub, tmp_path: Path) -> None:
    good = make_zip({"x": b"y"})
    zipped = make_zip(
        {
            "run/detail/checkpoints/epoch=3/loss=3.5.ckpt": good,
            "run/detail/checkpoints/epoch=9/loss=3.1.ckpt": good,
            "run/detail/checkpoints/last.ckpt": good,
            "run/cfg.yaml": b"a: 1",
        }
    )
    known = {"run": replace(ANTELOPE, key="run", file_name="run.zip", urls=(hub.url("run.zip"),), licence="emoca")}
    hub.files["run.zip"] = zipped
    pattern = "run/detail/checkpoints/"
    file = WeightFile("c", f"m/{pattern}e/l=9.ckpt", "Run", "emoca", "archive", "run", f"{pattern}*.ckpt")
    file = replace(file, accepted=(f"m/{pattern}**/*.ckpt",))
    plan = plan_files([file], tmp_path, options(hub, accepted=frozenset({"emoca"})), known)
    assert go(plan) == ["m/run/detail/checkpoints/epoch=9/loss=3.1.ckpt"]
    assert len(list(tmp_path.rglob("*.ckpt"))) == 2
    assert plan_files([file], tmp_path, options(hub), known).present == (file,)


def test_a_folder_as_mirror_needs_no_network(tmp_path: Path) -> None:
    mirror, models = tmp_path / "stick", tmp_path / "models"
    (mirror / "unet").mkdir(parents=True)
    (mirror / "unet" / "w.dat").write_bytes(UNET)
    (mirror / "antelopev2").mkdir()
    (mirror / "antelopev2" / "d.onnx").write_bytes(ONNX)
    offline = Options(mirror=str(mirror), remote=Remote(endpoint="http://127.0.0.1:9"))
    plan = plan_files([hf("unet/w.dat", UNET), packed(ONNX)], models, offline, {"antelope": ANTELOPE})
    assert plan.known_bytes == len(UNET) + len(ONNX)
    assert go(plan) == ["unet/w.dat", "antelopev2/d.onnx"]
    with pytest.raises(DownloadError, match=r"has no unet/x\.dat"):
        go(plan_files([hf("unet/x.dat")], models, offline))
    (mirror / "unet" / "w.dat").write_bytes(b"rotten")
    (models / "unet" / "w.dat").unlink()
    with pytest.raises(DownloadError, match="another content"):
        go(plan_files([hf("unet/w.dat", UNET)], models, offline))
    assert not (models / "unet" / "w.dat").exists()


def test_a_mirror_may_hold_the_zip_or_an_alternative(tmp_path: Path) -> None:
    mirror, models = tmp_path / "stick", tmp_path / "models"
    mirror.mkdir()
    (mirror / "antelope.zip").write_bytes(make_zip({"antelopev2/d.onnx": ONNX}))
    (mirror / "unet").mkdir()
    (mirror / "unet" / "w.json").write_bytes(CONFIG)
    offline = Options(mirror=str(mirror))
    file = hf("unet/w.dat", UNET, accepted=("unet/w.dat", "unet/w.json"))
    plan = plan_files([file, packed(ONNX)], models, offline, {"antelope": ANTELOPE})
    assert go(plan) == ["unet/w.json", "antelopev2/d.onnx"]


def test_a_mirror_may_hold_a_sharded_checkpoint(tmp_path: Path) -> None:
    """The index comes with all of its parts, or not at all."""
    mirror, models = tmp_path / "stick" / "m", tmp_path / "models"
    (mirror / "unet").mkdir(parents=True)
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    for number in (1, 2):
        (mirror / "unet" / f"w-{number}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"abcd")
    index = json.dumps({"weight_map": {"a": "w-1.safetensors", "b": "w-2.safetensors"}})
    (mirror / "unet" / "w.safetensors.index.json").write_text(index)
    file = hf("unet/w.safetensors", accepted=("unet/w.safetensors", "unet/w.safetensors.index.json"))
    plan = plan_files([file], models, Options(mirror=str(mirror)))
    assert plan.known_bytes == 2 * (8 + len(header) + 4)
    assert go(plan) == ["unet/w.safetensors.index.json"]
    assert plan_files([file], models, Options(mirror=str(mirror))).present == (file,)
    assert len(list((models / "unet").iterdir())) == 3
    (models / "unet" / "w-2.safetensors").unlink()
    (mirror / "unet" / "w-2.safetensors").unlink()
    with pytest.raises(Arc2FaceError, match=r"w-2\.safetensors"):
        go(plan_files([file], models, Options(mirror=str(mirror))))


def test_an_address_as_mirror(hub: Hub, tmp_path: Path) -> None:
    hub.files |= {"copy/unet/w.json": CONFIG, "copy/antelopev2/d.onnx": ONNX}
    hub.script("copy/antelopev2/d.onnx", drop(1000))
    mirrored = options(hub, mirror=hub.url("copy/"), remote=Remote(endpoint="http://127.0.0.1:9"))
    file = hf("unet/w.dat", UNET, accepted=("unet/w.dat", "unet/w.json"))
    plan = plan_files([file, packed(ONNX)], tmp_path, mirrored, {"antelope": ANTELOPE})
    assert go(plan) == ["unet/w.json", "antelopev2/d.onnx"]


def test_a_mirror_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="neither a folder nor an http address"):
        plan_files([hf("unet/w.dat")], tmp_path, Options(mirror=str(tmp_path / "nothing")))
