"""Writes the lists of exact versions: `./run lock` (what is pinned stays), `./run lock --upgrade` (newest that fit).

`pyproject.toml` holds the ranges that people keep; uv works out the versions for Python 3.10 to 3.13 on every system:

- `requirements.txt`: what the app, the command line and the library need, and HEIC, MP4, data sets, C2PA;
- `requirements-dev.txt`: the same, and what tests, checks and training need;
- `constraints.txt`: every extra as well, for packages that are added later (`pip install ... -c constraints.txt`);
  MediaPipe is in this one alone.

Plain pip reads all three. torch's own CUDA packages are left out: torch pins those, and its CPU build has none.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `./run lock` from pyproject.toml (scripts/lock_packages.py); edits here are lost.\n"
DEVELOPMENT = ("heif", "mp4", "dataset", "provenance", "watermark", "ray", "training", "original")
LISTS = {
    "constraints.txt": ("--all-extras", "--group", "dev"),
    "requirements.txt": ("--extra", "heif", "--extra", "mp4", "--extra", "dataset", "--extra", "provenance"),
    "requirements-dev.txt": (*(word for name in DEVELOPMENT for word in ("--extra", name)), "--group", "dev"),
}
"""File, and what of pyproject.toml goes into it. The first holds every package; the others keep its versions."""
LEFT_OUT = ("nvidia-", "cuda-", "triton")


def compiled(name: str, upgrade: bool) -> str:
    """The text of one list; raises CalledProcessError where uv finds no answer."""
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    command = [uv, "pip", "compile", "pyproject.toml", *LISTS[name], "--universal", "--python-version", "3.10"]
    # The list as it is now tells uv which versions to keep.
    command += ["--quiet", "--no-header", "--no-annotate", "--no-config", "--output-file", name]
    command += ["--upgrade"] if upgrade and name == "constraints.txt" else []
    command += ["--constraint", "constraints.txt"] if name != "constraints.txt" else []
    subprocess.run(command, cwd=PROJECT, check=True)
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines(keepends=True)
    return HEADER + "".join(line for line in lines if not line.startswith((*LEFT_OUT, "#")))


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write requirements*.txt and constraints.txt from pyproject.toml.")
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest versions instead of keeping those of now"
    )
    options = parser.parse_args()
    for name in LISTS:
        try:
            text = compiled(name, options.upgrade)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{name} could not be written: {error}")
            return 1
        (PROJECT / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines()) - 1} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
