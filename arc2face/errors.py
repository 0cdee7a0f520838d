"""Every error a caller can expect, as one tree.

    Arc2FaceError
    ├── InputError                  what the caller passed cannot be used
    │   ├── ImageError              not a picture, truncated, too large
    │   ├── VideoError              not a video, damaged, too long
    │   ├── NoFaceError             no face in a picture that needs one
    │   ├── EmbeddingError          wrong shape, NaN, zero norm
    │   ├── ExpressionError         wrong length, NaN, out of range
    │   ├── PoseError               reconstruction failed, or unusable normal map
    │   └── SettingsError           steps, guidance, seed, count ... out of range
    ├── WeightsError                something about the model files
    │   ├── MissingWeightsError     a file is not there; says how to get it
    │   ├── CorruptWeightsError     unreadable, truncated, or refused by the safe loader
    │   ├── IncompatibleWeightsError  readable, but of another architecture
    │   └── WrongRecogniserError    glintr100 (or another) where arcface.onnx belongs
    ├── DownloadError               fetching failed after all retries
    ├── DeviceError                 the accelerator is out of memory, lost or absent
    │   └── InvalidNumbersError     the denoiser made NaN for these inputs
    ├── StorageError                a result could not be written (disk full, no permission)
    └── CancelledError              the caller asked to stop

Each message is one or two sentences for the person at the screen: what is wrong, then what to do.
The user interface and the command line show it as it is and never show a stack trace for it.
"""

from __future__ import annotations

__all__ = [
    "Arc2FaceError",
    "CancelledError",
    "CorruptWeightsError",
    "DeviceError",
    "DownloadError",
    "EmbeddingError",
    "ExpressionError",
    "ImageError",
    "IncompatibleWeightsError",
    "InputError",
    "InvalidNumbersError",
    "MissingWeightsError",
    "NoFaceError",
    "PoseError",
    "SettingsError",
    "StorageError",
    "VideoError",
    "WeightsError",
    "WrongRecogniserError",
]


class Arc2FaceError(Exception):
    """Base of all errors of this library. `str(error)` is fit to be shown to a user."""


class InputError(Arc2FaceError):
    """What the caller passed cannot be used."""


class ImageError(InputError):
    """The file is not a picture, is truncated, or is larger than the stated limits."""


class VideoError(InputError):
    """The file is not a video, is damaged, or is longer than the stated limits."""


class NoFaceError(InputError):
    """No face was found in a picture that needs one."""


class EmbeddingError(InputError):
    """The identity embedding has a wrong shape, holds NaN, or has no length."""


class ExpressionError(InputError):
    """The expression vector has a wrong length, holds NaN, or leaves its range."""


class PoseError(InputError):
    """The head could not be reconstructed, or the normal map cannot be used."""


class SettingsError(InputError):
    """A generation setting is outside its range."""


class WeightsError(Arc2FaceError):
    """Something about the model files."""


class MissingWeightsError(WeightsError):
    """A model file is not there. The message names it and the command that fetches it."""


class CorruptWeightsError(WeightsError):
    """A model file cannot be read, is truncated, or was refused by the safe loader."""


class IncompatibleWeightsError(WeightsError):
    """A model file belongs to another architecture. The message names the keys or shapes."""


class WrongRecogniserError(WeightsError):
    """The folder holds a recogniser that the identity encoder was not trained with."""


class DownloadError(Arc2FaceError):
    """A file could not be fetched or verified."""


class DeviceError(Arc2FaceError):
    """The device is out of memory, lost, or not present."""


class InvalidNumbersError(DeviceError):
    """The denoiser made NaN or infinities for these inputs; other pictures may do well."""


class StorageError(Arc2FaceError):
    """A result could not be written."""


class CancelledError(Arc2FaceError):
    """The caller asked to stop; nothing was kept."""
