"""Puts together what a target wants as a folder of its own: python scripts/assemble.py TARGET FOLDER [--repository URL]

`space`: a Hugging Face Space (space.py, its README, the program). `replicate`: what `cog build` wants.
`pinokio`: a launcher; with `--repository` it clones the program at installation, without it carries a copy. `comfyui`:
the node pack as `comfy node pack` wants it. The folder must be new or empty. Only files that git tracks are copied.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PROGRAM = (
    "app",
    "arc2face",
    "external",
    "models/starter",
    "training",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.txt",
    "constraints.txt",
    "packages.txt",
    "scripts/checkout.py",
    "scripts/settle_packages.py",
    "scripts/download_models.py",
)
"""What runs: everything but tests, benches and documents."""


def tracked(names: Iterable[str]) -> list[Path]:
    """Tracked files below these names, relative to the project."""
    listed = subprocess.run(["git", "ls-files", "-z", "--", *names], cwd=PROJECT, check=True, capture_output=True)
    return [Path(name) for name in listed.stdout.decode().split("\0") if name]


def copy(names: Iterable[str], folder: Path, below: str = "") -> None:
    """Copy tracked files; `below`: a part of their path that is left out."""
    for path in tracked(names):
        target = folder / path.relative_to(below or ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / path, target)


SPACE_CHOOSES = ("pydantic", "pydantic-core")
"""A Space adds `gradio[oauth,mcp]` to requirements.txt, which takes other versions of these than the newest."""


def space(folder: Path) -> None:
    """The program, with the Space's own entry and README over it; what the platform chooses is not pinned."""
    copy(PROGRAM, folder)
    copy(["space.py"], folder)
    copy(["deploy/space"], folder, "deploy/space")
    pins = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    left = [line for line in pins if line.partition("==")[0] not in SPACE_CHOOSES]
    (folder / "requirements.txt").write_text("".join(left), encoding="utf-8")


def replicate(folder: Path) -> None:
    """The program, with the runner and its cog.yaml beside it."""
    copy(PROGRAM, folder)
    copy(["deploy/replicate"], folder, "deploy/replicate")


def pinokio(folder: Path, repository: str) -> None:
    """The launcher's scripts, and the program or the address of it."""
    copy(["deploy/pinokio"], folder, "deploy/pinokio")
    if repository:
        (folder / "repository.js").write_text(f'module.exports = "{repository}"\n', encoding="utf-8")
    else:
        copy(PROGRAM, folder / "app")


def comfyui(folder: Path) -> None:
    """The node pack."""
    copy(["comfyui"], folder, "comfyui")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Put together the folder that a target wants.")
    parser.add_argument("target", choices=["space", "replicate", "pinokio", "comfyui"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repository", default="", help="pinokio: where the program is cloned from")
    options = parser.parse_args()
    folder: Path = options.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        print(f"{folder} is not empty; name a new folder.")
        return 1
    if any(mark in options.repository for mark in "\"'\\\n ;&|`$"):
        print("The repository is an address, such as https://example.org/arc2face-studio.")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    if options.target == "pinokio":
        pinokio(folder, options.repository)
    else:
        {"space": space, "replicate": replicate, "comfyui": comfyui}[options.target](folder)
    print(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
