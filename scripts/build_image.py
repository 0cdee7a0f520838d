"""Builds an image and tries it: python scripts/build_image.py [--accelerator cuda] [--debian] [--tag NAME]

With docker, or with buildah and podman. The image is started as compose.yaml does (read-only root, user 1000, no
capabilities) on an empty volume; then `arc2face doctor`, the page, one picture over the API, the health check and the
stop are checked, and what happens when something is missing (scripts/try_image.py). Prints one line per check.

`--debian`: for machines that reach no image registry, a Debian root made by mmdebstrap stands in for the Python image.
`--no-build`: try an image that is there. `--build-flag`: handed to the builder, such as
`--build-flag=--volume=/wheels:/wheels:ro`; may be repeated.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.checkout import PROJECT
from scripts.try_image import CheckFailedError, try_image

DEBIAN, DEBIAN_PYTHON = "bookworm", "3.11"
DEBIAN_PACKAGES = "python3,python3-dev,python3-pip,python3-venv,ca-certificates"


def engines() -> tuple[list[str], str]:
    """The command that builds and the one that runs. Raises CheckFailedError where there is neither."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        return ["docker", "build"], "docker"
    if shutil.which("buildah") and shutil.which("podman"):
        # The OCI format has no health check.
        return ["buildah", "bud", "--layers", "--isolation=chroot", "--network=host", "--format=docker"], "podman"
    raise CheckFailedError("Neither docker nor buildah with podman is installed.")


def make_debian_base(runner: str) -> None:
    """Import a Debian root with Python under the name of the Python image that the Dockerfile starts from."""
    name = f"docker.io/library/python:{DEBIAN_PYTHON}-slim-{DEBIAN}"
    if subprocess.run([runner, "image", "inspect", name], capture_output=True).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root.tar"
        hooks = ('rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED', 'ln -s python3 "$1"/usr/bin/python')
        options = [f"--customize-hook={hook}" for hook in hooks]
        say("a Debian root with Python, by mmdebstrap")
        _run(["mmdebstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", *options, DEBIAN, str(root)])
        _run([runner, "import", str(root), name])


def build(builder: Sequence[str], tag: str, arguments: Sequence[str], flags: Sequence[str]) -> float:
    """Build the image; returns the seconds it took."""
    begun = time.monotonic()
    given = [word for argument in arguments for word in ("--build-arg", argument)]
    _run([*builder, *given, *flags, "--tag", tag, str(PROJECT)])
    return time.monotonic() - begun


def say(text: str) -> None:
    print(text, flush=True)


def _run(command: Sequence[str]) -> None:
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        raise CheckFailedError(f"{command[0]} failed with exit code {done.returncode}:\n{done.stdout[-3000:]}")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Build an image of Arc2Face Studio and try it.")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tag", default="", help="name of the image; arc2face:cpu or arc2face:cuda when left out")
    parser.add_argument("--debian", action="store_true", help="a Debian root in place of the Python image")
    parser.add_argument("--no-build", action="store_true", help="try an image that is there")
    parser.add_argument("--build-flag", action="append", default=[], metavar="FLAG", help="handed to the builder")
    options = parser.parse_args()
    tag = options.tag or f"arc2face:{options.accelerator}"
    try:
        builder, runner = engines()
        if not options.no_build:
            arguments = [f"ACCELERATOR={options.accelerator}"]
            if options.debian:
                make_debian_base(runner)
                arguments.append(f"PYTHON={DEBIAN_PYTHON}")
            say(f"building {tag} with {builder[0]}")
            say(f"built in {build(builder, tag, arguments, options.build_flag):.0f} s")
        try_image(runner, tag, say)
    except (CheckFailedError, OSError) as error:
        say(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
