"""Packages that only data sets need, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from arc2face.errors import SettingsError

__all__ = ["need"]


def need(module: str, extra: str = "dataset") -> Any:
    """The module `module` of an optional package. Raises SettingsError that names what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SettingsError(
            f'This needs the package {package}, which is not installed. Run: pip install "arc2face-studio[{extra}]"'
        ) from error
