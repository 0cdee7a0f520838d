"""torchvision and torchaudio: not needed here, but transformers imports them when they are there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from arc2face.doctor.report import Check

__all__ = ["COMPANIONS", "check_companions"]

COMPANIONS = ("torchvision", "torchaudio")


def check_companions() -> Iterator[Check]:
    """One check per companion that is installed: an error when it cannot be imported with this torch.

    diffusers then cannot be imported either, and nothing works.
    """
    for name in COMPANIONS:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name == name:
                continue
            yield _broken(name, error)
        except Exception as error:  # a companion of another build raises RuntimeError, OSError or ImportError
            yield _broken(name, error)
        else:
            yield Check("software", name, "ok", _version(name))


def _broken(name: str, error: Exception) -> Check:
    reason = " ".join(str(error).split())[:200]
    return Check(
        "software",
        name,
        "error",
        f"{_version(name)} does not fit the installed torch ({type(error).__name__}: {reason}); diffusers and "
        "transformers cannot be imported beside it",
        f"pip uninstall -y {name} (it is not needed here), or install the one of the same release and build",
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"
