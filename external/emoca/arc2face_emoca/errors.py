"""What can go wrong, as one small tree. Every message says what is wrong and what to do about it."""

from __future__ import annotations

__all__ = ["AssetError", "CorruptAssetError", "EmocaError", "IncompatibleAssetError", "MissingAssetError", "UsageError"]


class EmocaError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(EmocaError, ValueError):
    """An argument has a wrong shape, type or range."""


class AssetError(EmocaError):
    """Something about a model file."""


class MissingAssetError(AssetError):
    """A licensed file is not there. The message says where to register and where to put it."""


class CorruptAssetError(AssetError):
    """A file is unreadable, truncated, or holds something the safe reader refuses."""


class IncompatibleAssetError(AssetError):
    """A file is readable but belongs to another model. The message names keys and shapes."""
