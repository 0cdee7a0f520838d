"""Photos of people who do not exist, for those without a photo at hand: rendered once, shipped with the starter models.

They come from the world that the starter models were trained in; none of them is among the people of the training.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from arc2face import checks
from arc2face.errors import CorruptWeightsError, InputError
from arc2face.pictures.loading import MAX_FILE_BYTES, as_rgb_u8
from arc2face.types import RgbU8
from arc2face.weights.folder import starter_folders

POOL = "people.zip"
"""One picture per person, in the folder of the models or of the starter models."""
NO_POOL = (
    "The pictures of people who do not exist (people.zip, in the folder of the starter models) are not there. "
    "Give a photo."
)


def made_up_people(folder: Path | None = None) -> int:
    """How many different people `made_up_person` knows; 0 without their file.

    Raises CorruptWeightsError when the file is damaged.
    """
    path = _pool(folder)
    return 0 if path is None else len(_names(path))


def made_up_person(seed: int, folder: Path | None = None) -> RgbU8:
    """The photo of a person who does not exist: (H, W, 3) uint8 RGB, calm and from the front.

    Args:
        seed: 0 or more. The same seed is the same person; as many seeds in a row as `made_up_people` says are
            different people.
        folder: where the file lies; the starter models' folder when left out.

    Raises:
        SettingsError: the seed is no whole number of 0 or more.
        InputError: the file of these pictures is not there.
        CorruptWeightsError: it is damaged.
    """
    checks.whole("The seed", seed, (0, 2**63 - 1))
    path = _pool(folder)
    if path is None:
        raise InputError(NO_POOL)
    names = _names(path)
    try:
        with zipfile.ZipFile(path) as pool:
            entry = pool.getinfo(names[seed % len(names)])
            if entry.file_size > MAX_FILE_BYTES:
                raise _damaged(path)
            return as_rgb_u8(pool.read(entry))
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, InputError) as error:
        raise _damaged(path) from error


def _pool(folder: Path | None) -> Path | None:
    folders = starter_folders() if folder is None else [folder]
    return next((one / POOL for one in folders if (one / POOL).is_file()), None)


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as pool:
            names = sorted(name for name in pool.namelist() if name.endswith(".webp"))
    except (OSError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error
    if not names:
        raise _damaged(path)
    return names


def _damaged(path: Path) -> CorruptWeightsError:
    return CorruptWeightsError(f"{path} is damaged: it holds no pictures that can be read. Fetch the file again.")
