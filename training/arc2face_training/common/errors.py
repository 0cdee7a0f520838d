"""The one error that training adds to the library's tree."""

from __future__ import annotations

from arc2face.errors import Arc2FaceError

__all__ = ["TrainingError"]


class TrainingError(Arc2FaceError):
    """A config, a data folder or a checkpoint cannot be used. The message says what is wrong and what to do."""
