"""Leaves exactly one ONNX Runtime and exactly one OpenCV in this Python environment.

Two families of packages write the same import folder, and pip lets them overwrite each other:

- `onnxruntime` (which insightface asks for) and `onnxruntime-gpu` write `onnxruntime/`;
- `opencv-python` (insightface) and `opencv-contrib-python` (mediapipe), with their `-headless` twins, write `cv2/`.

Whichever was installed last wins, and a mixture of both breaks at import. This script looks at what is installed,
removes a mixed family as a whole and installs the one member that serves everybody. The headless builds are taken
because nothing here opens a window and the others want a graphics library that servers and containers lack.

    python scripts/settle_packages.py --cpu        # onnxruntime
    python scripts/settle_packages.py --cuda       # onnxruntime-gpu
    python scripts/settle_packages.py --check      # change nothing; exit code 1 when something is mixed

It needs nothing but the standard library and pip, and may be run again at any time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ONNXRUNTIMES = frozenset({"onnxruntime", "onnxruntime-gpu"})
OPENCVS = frozenset(
    {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
)
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
"""Where the version of `onnxruntime-gpu` stands. OpenCV keeps the version of the member that is replaced."""


@dataclass(frozen=True)
class Swap:
    """Remove all of `remove`, then install `install`. `reason` is for the person at the screen."""

    remove: tuple[str, ...]
    install: str
    reason: str


def plan(installed: frozenset[str], *, cuda: bool, cv2_works: bool) -> list[Swap]:
    """What has to change so that one member of each family remains.

    Args:
        installed: normalised names of the installed distributions.
        cuda: whether ONNX Runtime should run on an NVIDIA GPU.
        cv2_works: whether `import cv2` succeeds now.

    Returns:
        At most one swap per family; nothing when all is well.
    """
    swaps: list[Swap] = []
    runtimes = installed & ONNXRUNTIMES
    runtime = "onnxruntime-gpu" if cuda else "onnxruntime"
    if runtimes and runtimes != frozenset({runtime}):
        swaps.append(Swap(tuple(sorted(runtimes)), runtime, _names(runtimes)))

    opencvs = installed & OPENCVS
    contrib = "mediapipe" in installed
    suits = len(opencvs) == 1 and cv2_works and (not contrib or any("contrib" in name for name in opencvs))
    if opencvs and not suits:
        opencv = "opencv-contrib-python-headless" if contrib else "opencv-python-headless"
        swaps.append(Swap(tuple(sorted(opencvs)), opencv, _names(opencvs) + ("" if cv2_works else ", cv2 unusable")))
    return swaps


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, so that 5.10 follows 5.9."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _names(found: frozenset[str]) -> str:
    return "found " + " and ".join(sorted(found))


def installed_names() -> frozenset[str]:
    """Normalised names of all distributions of this environment."""
    names = (distribution.metadata["Name"] for distribution in metadata.distributions())
    return frozenset(name.lower().replace("_", "-") for name in names if name)


def cv2_imports() -> bool:
    """Whether a fresh Python can import cv2 (a missing system library shows only there)."""
    return subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True).returncode == 0


def carry_out(swap: Swap) -> None:
    """Remove and install; raises CalledProcessError when pip fails."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    wanted = swap.install
    if wanted in OPENCVS:
        wanted += f"=={max((metadata.version(name) for name in swap.remove), key=numbers)}"
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", *swap.remove], check=True)
    constraints = ["--constraint", str(CONSTRAINTS)] if CONSTRAINTS.is_file() else []
    subprocess.run([*pip, "install", "--quiet", "--no-deps", *constraints, wanted], check=True)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 all is well, 1 mixed (with --check) or pip failed."""
    parser = argparse.ArgumentParser(description="Leave exactly one ONNX Runtime and one OpenCV installed.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--cpu", action="store_true", help="ONNX Runtime for the CPU")
    choice.add_argument("--cuda", action="store_true", help="ONNX Runtime for NVIDIA GPUs")
    choice.add_argument("--check", action="store_true", help="only report")
    options = parser.parse_args(arguments)

    installed = installed_names()
    cuda = options.cuda or (options.check and "onnxruntime-gpu" in installed)
    if cuda and sys.version_info < (3, 11):
        print("Python 3.10 keeps ONNX Runtime for the CPU: its last GPU build wants CUDA 12, and torch brings CUDA 13.")
        cuda = False
    swaps = plan(installed, cuda=cuda, cv2_works=cv2_imports())
    for swap in swaps:
        print(f"{swap.reason}: {'would be' if options.check else 'being'} replaced by {swap.install}")
        if not options.check:
            try:
                carry_out(swap)
            except subprocess.CalledProcessError as error:
                print(f"pip failed with exit code {error.returncode}; run this again when the cause is gone.")
                return 1
    return 1 if swaps and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
