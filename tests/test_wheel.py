"""The wheel as somebody installs it: built from the sdist, put into an empty environment, run in an empty folder.

Its dependencies are lent by the environment of the tests, so that nothing is fetched; `WHEEL_NEWEST=1` instead lets pip
choose the newest of every range from the index (gigabytes on a machine without a mirror).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.app.conftest import free_port

pytest.importorskip("hatchling", reason="the build backend is not installed")

PROJECT = Path(__file__).resolve().parent.parent
PHOTO = PROJECT / "app" / "arc2face_app" / "page" / "assets" / "examples" / "faces" / "100005.webp"
ROOTS = (("app", "app"), ("training", "training"), ("external/emoca", "emoca"))
SIZE_LIMIT = 60_000_000


def _clean() -> dict[str, str]:
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "ARC2FACE_MODELS")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _built(target: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, env=_clean(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as package indexes and distributions do it."""
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(_built("sdist", PROJECT, folder)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return _built("wheel", source, folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs of an environment that holds the wheel."""
    folder = tmp_path_factory.mktemp("home") / "env"
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    newest = "WHEEL_NEWEST" in os.environ
    words = [str(wheel)] if newest else ["--no-deps", "--no-index", str(wheel)]
    command = [str(programs / "python"), "-m", "pip", "install", "--quiet", *words]
    subprocess.run(command, check=True, env=_clean())
    if not newest:
        (place,) = folder.rglob("site-packages")
        (place / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return programs


def _run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**_clean(), "PATH": os.pathsep.join([str(installed), os.environ["PATH"]])}
    command = [str(installed / "arc2face"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_everything_is_in_it_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    ours = {"arc2face", "arc2face_app", "arc2face_emoca", "arc2face_training"}
    assert {name for name in tops if not name.endswith(".dist-info")} == ours
    folders = ("arc2face", *(f"{root}/arc2face_{name}" for root, name in ROOTS))
    listed = subprocess.run(["git", "ls-files", *folders], cwd=PROJECT, capture_output=True, text=True)
    tracked = listed.stdout.split()
    wanted = {name.removeprefix("app/").removeprefix("training/").removeprefix("external/emoca/") for name in tracked}
    starter = {f"arc2face/starter/{path.name}" for path in (PROJECT / "models" / "starter").iterdir() if path.is_file()}
    assert wanted <= set(names) and starter <= set(names)
    assert not any("assets/FLAME" in name or name.endswith(".pyc") for name in names)
    assert wheel.stat().st_size < SIZE_LIMIT


def test_an_empty_machine_makes_a_picture(installed: Path, tmp_path: Path) -> None:
    shutil.copy(PHOTO, tmp_path / "me.webp")
    done = _run(installed, tmp_path, "generate", "me.webp", "--count", "1", "--fast", "--output", "made", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "made").glob("*.png"))) == 1
    assert json.loads(done.stdout)["images"][0]["similarity"] > 0.3


def test_models_of_others_are_not_looked_at_and_advice_fits(installed: Path, tmp_path: Path) -> None:
    """What lies in site-packages/models belongs to another package; messages name commands that work here."""
    (place,) = installed.parent.rglob("site-packages")
    (place / "models" / "starter").mkdir(parents=True, exist_ok=True)
    (place / "models" / "starter" / "bundle.json").write_text("{}")
    report = json.loads(_run(installed, tmp_path, "doctor", "--quick", "--json").stdout)
    (folder,) = (check for check in report["checks"] if check["name"] == "models folder")
    assert folder["detail"].endswith(str(Path("arc2face") / "starter"))
    failed = _run(installed, tmp_path, "pose", "x.png", "--pose-photo", "y.png", "--models", str(tmp_path))
    assert failed.returncode == 1 and "./run" not in failed.stderr


@pytest.mark.server
def test_the_page_starts(installed: Path, tmp_path: Path) -> None:
    """`arc2face app` says its address, and the page answers there."""
    port = free_port()
    command = [str(installed / "arc2face"), "app", "--port", str(port)]
    app = subprocess.Popen(command, cwd=tmp_path, env=_clean(), stdout=subprocess.PIPE, text=True)
    try:
        assert app.stdout is not None
        assert any(f":{port}" in line for line in app.stdout)
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).status == 200
    finally:
        app.terminate()
        app.wait(30)
