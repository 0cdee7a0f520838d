"""Gradio without its stub writer: a third of its import is spent on writing `.pyi` files for type checkers."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

_MODULE, _WRITER = "gradio.component_meta", "create_or_modify_pyi"


def leave_out() -> None:
    """From the next import of Gradio on, in this process; does nothing where Gradio is imported already.

    The files come with Gradio's wheel, so nobody misses them. A Gradio that writes them elsewhere is left as it is.
    """
    known = any(isinstance(finder, _Finder) for finder in sys.meta_path)
    if _MODULE not in sys.modules and not known:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds one module as everybody does, and steps aside."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Quiet(spec.loader)
        return spec


class _Quiet(Loader):
    """The real loader, then a writer that writes nothing."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if hasattr(module, _WRITER):
            setattr(module, _WRITER, _write_nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _write_nothing(*_: object, **__: object) -> None:
    """In the place of the writer."""
