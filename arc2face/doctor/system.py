"""Versions, package clashes, devices, providers, disk and memory."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from arc2face.doctor.companions import check_companions
from arc2face.doctor.report import Check
from arc2face.weights.store import cache_folder

__all__ = ["check_machine", "check_software", "clashes", "installed_versions"]

PYTHON = ((3, 10), (3, 13))
NEEDED: dict[str, str] = {
    "torch": "2.8",
    "diffusers": "0.38",
    "transformers": "5.10",
    "safetensors": "0.5",
    "insightface": "2.1",
    "numpy": "2.0",
    "pillow": "11.3",
    "gradio": "6.20",
}
OPTIONAL: dict[str, tuple[str, str]] = {
    "mediapipe": (
        "reads expressions from the same landmarks as the original; without it 68 points are used. Its native library "
        "can report usage to its maker (docs/privacy.md)",
        # Plain pip would bring a second OpenCV over the first.
        'pip install "arc2face-studio[mediapipe]"',
    ),
    "pillow-heif": ("opens HEIC photos", "pip install pillow-heif"),
}
_ONNX = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-silicon")
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_GB = 1e9


def installed_versions() -> dict[str, str]:
    """Name (lower case, dashes) -> version of every installed distribution."""
    return {
        re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower(): dist.version
        for dist in metadata.distributions()
        if dist.metadata["Name"]
    }


def check_software(quick: bool) -> Iterator[Check]:
    """Python, the packages we need, and packages that overwrite each other."""
    version = sys.version_info[:2]
    fits = PYTHON[0] <= version <= PYTHON[1]
    yield Check(
        "software",
        "Python",
        "ok" if fits else "warning",
        platform.python_version(),
        "" if fits else "Use Python 3.10 to 3.13; other versions are not tested.",
    )
    versions = installed_versions()
    for name, least in NEEDED.items():
        yield _package(name, least, versions.get(name))
    for name, (purpose, remedy) in OPTIONAL.items():
        yield _optional(name, purpose, remedy, versions.get(name))
    yield from clashes(versions)
    if not quick:
        yield from check_companions()


def _optional(name: str, purpose: str, remedy: str, have: str | None) -> Check:
    if have is None:
        return Check("software", name, "note", f"not installed; it {purpose}", remedy)
    if name == "mediapipe":
        detail = f"{have}; its native library can report usage to its maker (docs/privacy.md)"
        return Check("software", name, "note", detail, "pip uninstall mediapipe")
    return Check("software", name, "ok", have)


def _package(name: str, least: str, have: str | None) -> Check:
    if have is None:
        return Check("software", name, "error", "not installed", f'pip install "{name}>={least}"')
    if _numbers(have) < _numbers(least):
        remedy = f'pip install --upgrade "{name}>={least}"'
        return Check("software", name, "warning", f"{have} is older than {least}", remedy)
    return Check("software", name, "ok", have)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def clashes(versions: Mapping[str, str]) -> Iterator[Check]:
    """Distributions that write into the same module folder, so that the last one installed breaks the others."""
    runtimes = [name for name in _ONNX if name in versions]
    if not runtimes:
        yield Check("software", "onnxruntime", "error", "not installed", "pip install onnxruntime")
    elif len(runtimes) > 1:
        keep = "onnxruntime-gpu" if "onnxruntime-gpu" in runtimes else runtimes[0]
        yield Check(
            "software",
            "onnxruntime",
            "error",
            f"{' and '.join(f'{n} {versions[n]}' for n in runtimes)} overwrite each other's files",
            f"pip uninstall -y {' '.join(runtimes)}, then pip install --no-deps {keep}",
        )
    else:
        yield Check("software", runtimes[0], "ok", versions[runtimes[0]])
    cameras = [name for name in _OPENCV if name in versions]
    if len({versions[name] for name in cameras}) > 1:
        newest = max((versions[name] for name in cameras), key=_numbers)
        yield Check(
            "software",
            "opencv",
            "warning",
            f"{' and '.join(f'{n} {versions[n]}' for n in cameras)} share one folder at different versions",
            f"pip install --force-reinstall --no-deps {' '.join(f'{n}=={newest}' for n in cameras)}",
        )
    build, vision = versions.get("torch", ""), versions.get("torchvision")
    if vision is not None and build.partition("+")[2] != vision.partition("+")[2]:
        yield Check(
            "software",
            "torchvision",
            "warning",
            f"{vision} was built for another torch than {build}; then transformers cannot be imported either",
            "pip uninstall -y torchvision (it is not needed here)",
        )


def check_machine(models: Path | None, quick: bool) -> Iterator[Check]:
    """Device, onnxruntime's providers, memory and disk."""
    if not quick:
        yield from _device()
        yield from _providers()
    yield _memory()
    yield _disk("disk for models", models or Path(os.environ.get("ARC2FACE_MODELS", "models")), 1.0)
    yield _disk("disk for the cache", cache_folder(), 4.0)


def _device() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:  # a broken build raises OSError, ImportError or RuntimeError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Reinstall torch; docs/models.md says which build."
        yield Check("machine", "device", "error", f"torch cannot be imported ({reason})", remedy)
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            detail = f"{name}, {free / _GB:.1f} of {total / _GB:.1f} GB free"
            data = {"device": f"cuda:{index}", "name": name, "free_bytes": free, "total_bytes": total}
            small = total < 5e9
            remedy = "Use --vram offload (or sequential) to fit." if small else ""
            yield Check("machine", f"cuda:{index}", "warning" if small else "ok", detail, remedy, data)
        yield _fast_path()
    elif torch.backends.mps.is_available():
        yield Check("machine", "device", "ok", "Apple GPU (mps, best effort)", data={"device": "mps"})
    elif os.environ.get("ARC2FACE_IMAGE") == "cuda":
        from arc2face.diffusion.graphs.driver import unkept_promise

        yield Check("machine", "device", "warning", unkept_promise(), "Or take the image for CPUs, which is smaller.")
    elif shutil.which("nvidia-smi"):
        from arc2face.diffusion.graphs.driver import outdated_driver

        detail = outdated_driver() or f"an NVIDIA driver is there, but torch {torch.__version__} cannot use it"
        yield Check("machine", "device", "warning", detail, "Install a CUDA build of torch: docs/models.md says which.")
    else:
        detail = f"CPU, {torch.get_num_threads()} threads: the full models are slow here, fast mode helps most"
        yield Check("machine", "device", "note", detail, data={"device": "cpu"})


def _fast_path() -> Check:
    """Whether steps could be captured here; what a running server has captured stands in its Models panel."""
    from arc2face.diffusion.graphs.opening import why_off
    from arc2face.types import Runtime

    reason = why_off(Runtime("cuda", "fp16"), inline=False)
    return Check("machine", "fast path", "note" if reason else "ok", f"off: {reason}" if reason else "can be used")


def _providers() -> Iterator[Check]:
    if importlib.util.find_spec("onnxruntime") is None:
        return
    try:
        import onnxruntime

        providers: list[str] = onnxruntime.get_available_providers()
    except Exception as error:  # mixed installations fail in many ways
        detail = f"onnxruntime cannot be imported ({error})"
        yield Check("machine", "providers", "error", detail, "Reinstall exactly one onnxruntime package.")
        return
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    yield Check("machine", "onnxruntime providers", "ok", names, data={"providers": providers})


def _memory() -> Check:
    total, free = _memory_bytes()
    if total is None:
        return Check("machine", "memory", "note", "cannot be read on this system")
    detail = f"{total / _GB:.1f} GB" + (f", {free / _GB:.1f} GB free" if free is not None else "")
    tight = total < 8e9
    remedy = "The full models want about 8 GB; the starter models run in 2 GB." if tight else ""
    data = {"total_bytes": total, "free_bytes": free}
    return Check("machine", "memory", "warning" if tight else "ok", detail, remedy, data)


def _memory_bytes() -> tuple[int | None, int | None]:
    """Installed and available memory."""
    try:
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)
    except ImportError:
        pass
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None, None


def _disk(name: str, folder: Path, least_gb: float) -> Check:
    folder = folder.absolute()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return Check("machine", name, "warning", f"{existing} cannot be written to", "Choose another folder.")
    tight = free < least_gb * _GB
    remedy = f"Free some space: at least {least_gb:.0f} GB is wanted." if tight else ""
    data = {"path": str(folder), "free_bytes": free}
    return Check("machine", name, "warning" if tight else "ok", f"{free / _GB:.1f} GB free at {folder}", remedy, data)
