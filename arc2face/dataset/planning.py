"""From a plan to a folder and back, and what it will cost: a plan that does not fit the disk is refused here."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from arc2face.dataset.folder import IDENTITIES, PLAN, REFERENCES, DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.leftovers import owned
from arc2face.dataset.plan import DatasetPlan
from arc2face.dataset.references import ReferencePhotos
from arc2face.errors import InputError, SettingsError, StorageError
from arc2face.weights.writing import TEMPORARY_PREFIX

__all__ = ["DEFAULT_SIDE", "Estimate", "OpenSet", "estimate", "load_plan", "make_folder", "open_set"]

DEFAULT_SIDE = 512
BYTES_PER_PIXEL = {"png": 1.8, "jpg": 0.6}
"""Upper ends of what drawn faces take."""
OVERHEAD_BYTES = 6144
"""Per picture: recipe, JSON, label, three tar headers and padding, a row of the manifest."""
RESERVE_BYTES = 256 << 20
"""Room that is left on the disk."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`pictures`: that are kept at most. `bytes`: on the disk. `seconds`: of one process, None when unknown."""

    pictures: int
    bytes: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OpenSet:
    """A data set's folder with its checked plan and people. `references`: where the plan names some."""

    folder: DatasetFolder
    plan: DatasetPlan
    identities: Identities
    references: ReferencePhotos | None


def estimate(plan: DatasetPlan, side: int | None = None, seconds_per_picture: float | None = None) -> Estimate:
    """What a plan will take. `side`: pixels of a picture where the plan leaves that to the models."""
    kept = plan.people * (plan.keep_best or plan.pictures)
    height = plan.drawing.height or side or DEFAULT_SIDE
    width = plan.drawing.width or side or DEFAULT_SIDE
    each = height * width * BYTES_PER_PIXEL[plan.picture] + OVERHEAD_BYTES
    seconds = None if seconds_per_picture is None else seconds_per_picture * plan.total
    return Estimate(kept, int(kept * each), seconds)


def check_disk(folder: Path, needed: int) -> None:
    """Raises StorageError when the disk of `folder` has less room than that and a reserve."""
    place = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed + RESERVE_BYTES:
        raise StorageError(
            f"The data set needs about {gigabytes(needed)}, and {place} has {gigabytes(free)} left. Choose another "
            "disk, fewer people or pictures, a smaller size, or --format jpg."
        )


def gigabytes(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def make_folder(
    plan: DatasetPlan,
    identities: Identities,
    folder: Path | str,
    references: ReferencePhotos | None = None,
    side: int | None = None,
) -> DatasetFolder:
    """Write a plan and its people. The same plan again changes nothing; the plan's file comes last.

    Raises InputError for a folder with another plan or with other files, or people the plan is not about; StorageError
    where it does not fit the disk.
    """
    root = Path(folder).expanduser()
    _check_parts(plan, identities, references)
    if (root / PLAN).exists():
        known = load_plan(DatasetFolder(root))
        if known.sha256 != plan.sha256:
            raise InputError(
                f"{root} holds another plan ({known.sha256[:12]}, this one is {plan.sha256[:12]}); pictures of two "
                "plans would be mixed. Choose another folder, or remove that one."
            )
        return DatasetFolder(root)
    _check_empty(root)
    check_disk(root, estimate(plan, side).bytes)
    identities.save(root / IDENTITIES)
    if references is not None:
        references.save(root / REFERENCES)
    with owned(root / PLAN) as temporary:
        temporary.write_text(plan.to_json(), encoding="ascii")
    return DatasetFolder(root)


def load_plan(folder: DatasetFolder) -> DatasetPlan:
    """The folder's plan. Raises InputError for one that was edited by hand or damaged."""
    plan = DatasetPlan.from_dict(folder.plan_json())
    if hashlib.sha256(folder.plan.read_bytes()).hexdigest() != plan.sha256:
        raise InputError(
            f"{folder.plan} was changed by hand, so it no longer says how its pictures were made. Restore it, or plan "
            "a new folder."
        )
    return plan


def open_set(folder: DatasetFolder | Path | str) -> OpenSet:
    """A folder's plan and people, checked against one another. Raises InputError."""
    place = folder if isinstance(folder, DatasetFolder) else DatasetFolder.of(folder)
    plan = load_plan(place)
    identities = place.identities()
    references = None
    if plan.references is not None:
        references = ReferencePhotos.load(place.root / REFERENCES, plan.references.count)
    _check_parts(plan, identities, references)
    return OpenSet(place, plan, identities, references)


def _check_parts(plan: DatasetPlan, identities: Identities, references: ReferencePhotos | None) -> None:
    if len(identities) != plan.people or identities.sha256 != plan.identities_sha256:
        raise InputError("The plan is about other people than these identities. Make the plan again.")
    if (references is None) != (plan.references is None):
        raise InputError("The plan and its reference photos do not belong together. Make the plan again.")
    if references is None or plan.references is None:
        return
    if references.sha256 != plan.references.sha256:
        raise InputError("The reference photos are others than the plan was made with. Make the plan again.")
    if plan.references.by == "person":
        references.of(identities.keys)


def _check_empty(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise SettingsError(f"{root} is a file; a data set needs a folder.")
    try:
        names = {path.name for path in root.iterdir()} if root.exists() else set[str]()
    except OSError as error:
        raise StorageError(f"{root} cannot be read ({error.strerror or error}).") from error
    others = {name for name in names - {IDENTITIES, REFERENCES} if not name.startswith(TEMPORARY_PREFIX)}
    if others:
        raise InputError(f"{root} is not empty ({min(others)} is there). A data set needs a folder of its own.")
