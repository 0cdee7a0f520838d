"""The command line stopped in the middle, on odd disks, and in terminals that cannot show every letter. Real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arc2face import IdentityEmbedding, load_rgb_u8, save_png
from arc2face.errors import SettingsError
from arc2face.faces.identities import save_identity
from arc2face.pictures.recipes import read_recipe
from arc2face.pictures.saving import save_picture
from arc2face.types import GeneratedImage, GenerationRequest, GenerationResult
from tests.faults.conftest import PROJECT, Start

ANNA = IdentityEmbedding(np.random.default_rng(11).standard_normal(512).astype(np.float32))
QUICK = ("--size", "64", "--no-score", "--seed", "3")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and users are POSIX")

CLI = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background inherit "ignored"
import app.cli.output as output
real = output.Series.add
def add(self, *values):
    real(self, *values)
    sys.stderr.write("saved\\n")
    sys.stderr.flush()
output.Series.add = add
from app.cli import main
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
    assert 1 <= len(pictures) < 6 and [path.name for path in pictures][0] == "strip-01-3.png"
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


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_names_that_the_terminal_cannot_show(
    tiny_tree: Path, anna: Path, tmp_path: Path, encoding: str, words: list[str]
) -> None:
    """C5: exit 70 after the work; now the name is escaped, and JSON says it exactly."""
    name = "照片 😀 é"
    command = ["generate", "--models", str(tiny_tree / "models"), "--device", "cpu", "--identity", str(anna), *QUICK]
    command += ["--steps", "1", "-n", "1", "-o", name, *words]
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "external")])
    done = subprocess.run(
        [sys.executable, "-c", CLI, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode(encoding)
    (picture,) = (tmp_path / name).iterdir()
    if words:
        assert json.loads(out)["images"][0]["path"] == f"{name}/{picture.name}"
    else:
        assert picture.name in out
        assert (name in out) is (encoding == "utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_an_answer_that_cannot_be_written_is_no_bug(tiny_tree: Path, anna: Path, tmp_path: Path) -> None:
    """C5: the console never dies of its own after the work; the pictures are there."""
    command = ["generate", "--models", str(tiny_tree / "models"), "--device", "cpu", "--identity", str(anna), *QUICK]
    command += ["--steps", "1", "-n", "1", "-o", "out", "--json"]
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "external")])
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CLI + "\n", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "could not be written to standard output" in done.stderr and "Traceback" not in done.stderr
    assert done.returncode == 1
    assert len(kept(tmp_path)) == 1


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


NOBODY = """
import os, sys, warnings
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)  # a user without an entry in the user database, as in some containers
for name in ("HOME", "XDG_CACHE_HOME", "ARC2FACE_CACHE", "USER", "LOGNAME", "TMPDIR"):
    os.environ.pop(name, None)
"""


@pytest.fixture
def open_folder(tiny_tree: Path) -> Iterator[Path]:
    """A folder with models and a person that every user may read and nobody but its owner may write to."""
    folder = Path(tempfile.mkdtemp(prefix="arc2face-test-"))
    shutil.copytree(tiny_tree / "models", folder / "models")
    save_identity(folder / "anna.npz", ANNA)
    shutil.copytree(PROJECT / "app", folder / "code" / "app")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    if os.name == "posix" and os.getuid():
        for path in [folder / "models", *(folder / "models").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder)


def as_nobody(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line as a user without rights, home or name; its modules are imported before, by one who has them."""
    imports = "import torch, diffusers, transformers, safetensors.torch, onnxruntime, cv2, PIL.Image\n"
    imports += "import app.cli.root, arc2face.engine, arc2face.sources, arc2face.series, arc2face.pictures.recipes\n"
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "external")])
    return subprocess.run(
        [sys.executable, "-c", imports + NOBODY + "from app.cli import main\nsys.exit(main(sys.argv[1:]))", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@posix
def test_read_only_folders_without_home_and_name(open_folder: Path) -> None:
    """A3, A4, C5: said before the run where the pictures cannot go; models and caches that cannot be written do not
    matter.
    """
    command = ("generate", "--models", "models", "--device", "cpu", "--identity", "anna.npz", *QUICK)
    options = ("--steps", "1", "-n", "1", "--json")
    refused = as_nobody(open_folder, *command, *options, "-o", "models")
    assert refused.returncode == 1, refused.stderr
    assert "Nothing can be written into" in json.loads(refused.stdout)["error"]["message"]

    out = open_folder / "out"
    out.mkdir()
    out.chmod(0o777)
    before = sorted(path.name for path in (open_folder / "models").rglob("*"))
    done = as_nobody(open_folder, *command, *options, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.iterdir()] == ["face-3.png"]
    assert sorted(path.name for path in (open_folder / "models").rglob("*")) == before
