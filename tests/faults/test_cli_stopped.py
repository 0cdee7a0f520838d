"""The command line stopped in the middle, on odd disks, and in terminals that cannot show every letter."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from arc2face import IdentityEmbedding, load_rgb_u8, save_png
from arc2face.errors import SettingsError
from arc2face.faces.identities import save_identity
from arc2face.pictures.recipes import read_recipe
from arc2face.pictures.saving import save_picture
from arc2face.types import GeneratedImage, GenerationRequest, GenerationResult
from arc2face_app.cli import main
from tests.faults.conftest import Start

ANNA = IdentityEmbedding(np.random.default_rng(11).standard_normal(512).astype(np.float32))
QUICK = ("--size", "64", "--no-score", "--seed", "3")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and users are POSIX")

CLI = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background inherit "ignored"
import arc2face_app.cli.output as output
real = output.Series.add
def add(self, *values):
    real(self, *values)
    sys.stderr.write("saved\\n")
    sys.stderr.flush()
output.Series.add = add
from arc2face_app.cli import main
sys.exit(main(sys.argv[1:]))
"""
FULL_AT_THE_THIRD = """
import errno, os
replace, made = os.replace, []
def refuse(a, b):
    if str(b).endswith(".png"):
        made.append(b)
        if len(made) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
    replace(a, b)
os.replace = refuse
"""


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    return save_identity(tmp_path / "anna.npz", ANNA)


def strip(models: Path, anna: Path, steps: int) -> list[object]:
    words = ["expression", "--models", models, "--device", "cpu", "--identity", anna, "--jaw-open", 0.3, *QUICK]
    return [*words, "--strip", 6, "--steps", steps, "-o", "out", "--json"]


def kept(tmp_path: Path) -> list[Path]:
    """Pictures in the folder, whole and with their recipes; anything else there is a failure."""
    paths = sorted((tmp_path / "out").iterdir())
    for path in paths:
        assert path.suffix == ".png" and load_rgb_u8(path).shape == (64, 64, 3)
        assert read_recipe(path)["settings"]["seed"] == 3
    return paths


@posix
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["interrupted", "terminated"]
)
def test_a_series_that_is_stopped_keeps_its_finished_pictures(
    start: Start, tiny_tree: Path, anna: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A2, B3: each picture is on the disk as soon as it is made; nothing half is left, and the answer says so."""
    process = start(CLI, *strip(tiny_tree / "models", anna, 100))
    assert process.stderr is not None
    told = ""
    while "saved" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in told + errors
    pictures = kept(tmp_path)
    assert 1 <= len(pictures) < 6 and pictures[0].name == "strip-01-3.png"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anna.npz", "out"]
    if number == signal.SIGINT:
        message = json.loads(output)["error"]["message"]
        assert message == f"Stopped as you asked. {len(pictures)} of 6 pictures were finished and are kept in out."


def test_a_series_that_meets_a_full_disk_keeps_what_was_saved(
    start: Start, tiny_tree: Path, anna: Path, tmp_path: Path
) -> None:
    """A2, A3, K9: two pictures before the disk was full."""
    process = start(FULL_AT_THE_THIRD + CLI, *strip(tiny_tree / "models", anna, 2))
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    error = json.loads(output)["error"]
    assert error["type"] == "StorageError"
    assert "Free some disk space. 2 of 6 pictures were finished and are kept in out." in error["message"]
    assert len(kept(tmp_path)) == 2


@posix
def test_a_single_run_that_is_terminated_leaves_nothing(
    start: Start, tiny_tree: Path, anna: Path, tmp_path: Path
) -> None:
    """B3: as a container or a shell that closes ends it."""
    script = """
import arc2face.diffusion.generation as generation, signal, os
real = generation._group_latents
def first(*values):
    os.kill(os.getpid(), signal.SIGTERM)
    return real(*values)
generation._group_latents = first
"""
    words = ["generate", "--models", tiny_tree / "models", "--device", "cpu", "--identity", anna, *QUICK]
    process = start(script + CLI, *words, "--steps", 100, "-n", 1, "-o", "out")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []


def generate(models: Path, anna: Path, folder: str) -> list[str]:
    words = ["generate", "--models", str(models), "--device", "cpu", "--identity", str(anna), *QUICK]
    return [*words, "--steps", "1", "-n", "1", "-o", folder]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_names_that_the_terminal_cannot_show(
    tiny_tree: Path, anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, words: list[str]
) -> None:
    """C5: exit 70 after the work; now the name is escaped, and JSON says it exactly."""
    name, terminal = "照片 😀 é", io.BytesIO()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding=encoding))
    assert main([*generate(tiny_tree / "models", anna, name), *words]) == 0
    out = terminal.getvalue().decode(encoding)
    (picture,) = (tmp_path / name).iterdir()
    if words:
        assert json.loads(out)["images"][0]["path"] == f"{name}/{picture.name}"
    else:
        assert picture.name in out
        assert (name in out) is (encoding == "utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_an_answer_that_cannot_be_written_is_no_bug(
    tiny_tree: Path,
    anna: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """C5: the console never dies of its own after the work; the pictures are there."""
    monkeypatch.chdir(tmp_path)
    full = open("/dev/full", "w")  # noqa: SIM115 closing it fails
    monkeypatch.setattr(sys, "stdout", full)
    assert main([*generate(tiny_tree / "models", anna, "out"), "--json"]) == 1
    assert "could not be written to standard output" in " ".join(capsys.readouterr().err.split())
    assert len(kept(tmp_path)) == 1
    with contextlib.suppress(OSError):
        full.close()


@pytest.mark.parametrize("name", ["x.jpg", "x.webp", "x"])
def test_a_png_is_called_one(tmp_path: Path, name: str) -> None:
    """C5: `save_png("x.jpg")` wrote a PNG."""
    picture = np.zeros((8, 8, 3), np.uint8)
    image = GeneratedImage(picture, 0)
    result = GenerationResult((image,), GenerationRequest(identity=ANNA), {"settings": {}, "identity": {}}, {})
    with pytest.raises(SettingsError, match=r"ends in \.png"):
        save_png(image, result, tmp_path / name)
    with pytest.raises(SettingsError, match=r"ends in \.png"):
        save_picture(picture, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# As root only a process without capabilities meets permissions at all.
NO_RIGHTS = """
import ctypes, os, pwd
if os.getuid() == 0:
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, data) == 0
def nobody(_):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = nobody
for name in ("HOME", "XDG_CACHE_HOME", "ARC2FACE_CACHE", "USER", "LOGNAME"):
    os.environ.pop(name, None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="rights are given up in Linux's way")
def test_read_only_folders_without_home_and_name(start: Start, tiny_copy: Path, anna: Path, tmp_path: Path) -> None:
    """A3, A4, C5: said before the run where the pictures cannot go; models that cannot be written to do not matter, nor
    a user without a home and a name.
    """
    models = tiny_copy / "models"
    folders = [path for path in (tiny_copy, *tiny_copy.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    before = sorted(tiny_copy.rglob("*"))
    try:
        refused = start(NO_RIGHTS + CLI, *generate(models, anna, str(models)), "--json")
        output, errors = refused.communicate(timeout=120)
        assert refused.returncode == 1, errors
        assert "Nothing can be written into" in json.loads(output)["error"]["message"]
        done = start(NO_RIGHTS + CLI, *generate(models, anna, "out"), "--json")
        _, errors = done.communicate(timeout=120)
        assert done.returncode == 0, errors
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert [path.name for path in kept(tmp_path)] == ["face-3.png"]
    assert sorted(tiny_copy.rglob("*")) == before
