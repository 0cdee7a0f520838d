"""Head pose for the ControlNet: read off a reference photo, or given as angles.

The source photo gives the face's shape; the FFHQ-aligned reference photo gives rotation, jaw, expression and camera
(Arc2Face's pose demo; EMOCA, Danecek et al. 2022; FLAME, Li et al. 2017). The result is a picture of the head's
world-space normals. `emoca` does the work; this module aligns, checks and explains.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arc2face import checks, forks
from arc2face.errors import (
    CorruptWeightsError,
    IncompatibleWeightsError,
    MissingWeightsError,
    NoFaceError,
    PoseError,
)
from arc2face.pose.values import (
    ALIGNED_SIZE,
    JAW_LIMIT,
    PITCH_LIMIT,
    ROLL_LIMIT,
    YAW_LIMIT,
    Landmarks,
    PoseReading,
    check_angles,
    check_jaw,
    check_normal_map,
    turntable_angles,
)
from arc2face.types import Expression, Float32Array, RgbU8

if TYPE_CHECKING:
    import arc2face_emoca as emoca
    from arc2face.expression.regions import HeadBasis
    from arc2face.pose.geometry import FacePoints
    from arc2face.weights.folder import ModelsFolder

__all__ = [
    "JAW_LIMIT",
    "PITCH_LIMIT",
    "ROLL_LIMIT",
    "YAW_LIMIT",
    "PoseReader",
    "PoseReading",
    "check_angles",
    "check_normal_map",
    "turntable_angles",
]


class PoseReader:
    """Reads poses off photos and draws poses from angles. Loads on first use; safe to share between threads.

    Args:
        folders: where the asset tree (`EMOCA/`, `FLAME/`) may lie, first find wins; an `emoca` folder inside one
            counts, too.
        device: "cpu", "cuda", "cuda:1" ... Other devices are served on the CPU.
        cache_dir: where the converted copy of the weights is kept; the library's cache folder when None.
    """

    def __init__(self, folders: Path | Sequence[Path], device: str = "cpu", cache_dir: Path | None = None) -> None:
        many = [folders] if isinstance(folders, Path) else list(folders)
        self._folders = [
            path for folder in many for path in ([folder] if folder.name == "emoca" else [folder / "emoca", folder])
        ]
        self.device = device if device.startswith("cuda") else "cpu"
        self._cache_dir = cache_dir
        self._lock = threading.RLock()
        self._model: emoca.Emoca | None = None
        self._head: tuple[emoca.Emoca, FacePoints] | None = None
        forks.remake_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: a new lock; what is loaded stays, for it has no threads."""
        self._lock = threading.RLock()

    @classmethod
    def of_models(cls, models: ModelsFolder, device: str = "cpu") -> PoseReader:
        """The reader for a models folder and the places that belong to it."""
        return cls(models.places, device)

    def available(self) -> tuple[bool, bool]:
        """Whether photos can be read, and whether angles can be drawn, by the files that are there. Loads nothing."""
        import arc2face_emoca as emoca

        files = emoca.AssetFiles.find(self._folders)
        return files.checkpoint is not None, files.checkpoint is not None or files.flame is not None

    def missing(self) -> str:
        """What is missing for reading photos, where to register and where to put it; empty when nothing is."""
        import arc2face_emoca as emoca

        return "" if self.available()[0] else emoca.missing_message("EMOCA's checkpoint", self._folders[:1])

    def load(self) -> None:
        """Load encoders and head now.

        Raises:
            MissingWeightsError: licensed files are not there; says where to register and where to put them.
            CorruptWeightsError: a file is unreadable, or was refused by the safe readers.
            IncompatibleWeightsError: a file belongs to another model.
        """
        self._loaded()

    def read(
        self,
        source_rgb: RgbU8,
        source_lm68: Landmarks | None,
        reference_rgb: RgbU8,
        reference_lm68: Landmarks | None,
        *,
        detect: Callable[[RgbU8], Landmarks | None] | None = None,
        check: bool = True,
    ) -> PoseReading:
        """The source's face in the reference's pose.

        Args:
            source_rgb: (H, W, 3) uint8 photo that gives the face's shape.
            source_lm68: (68, 2) landmarks in it, None when no face was found.
            reference_rgb: (H, W, 3) uint8 photo that gives pose and expression.
            reference_lm68: (68, 2) landmarks in it, None when no face was found.
            detect: finds the landmarks of the aligned reference, as the original demo does once more. When None, or
                when it finds none, the reference's landmarks are carried over.
            check: refuse a reconstruction that clearly failed; with False it comes with a warning instead.

        Raises:
            NoFaceError: landmarks are None; says for which photo.
            PoseError: the reconstruction failed.
            WeightsError: as for `load`.
        """
        from arc2face.pose.reading import read_pose

        source = _need_face(source_lm68, "source")
        reference = _need_face(reference_lm68, "reference")
        model = self._loaded()
        with _explained():
            return read_pose(model, self._points(model), source_rgb, source, reference_rgb, reference, detect, check)

    def angles(self, rgb: RgbU8, lm68: Landmarks | None) -> tuple[float, float, float]:
        """Yaw, pitch and roll in degrees of the face with these (68, 2) landmarks. Raises as `read`."""
        from arc2face.pose.reading import read_angles

        points = _need_face(lm68, "given")
        model = self._loaded()
        with _explained():
            return read_angles(model, rgb, points)

    def from_angles(
        self,
        yaw: float,
        pitch: float,
        roll: float,
        shape: Float32Array | None = None,
        expression: Expression | Float32Array | None = None,
        jaw: float = 0.0,
        size: int = ALIGNED_SIZE,
    ) -> RgbU8:
        """Draw a head at given angles, framed like an aligned photo.

        Needs the head only: FLAME's `generic_model.pkl`, any file of that format, or a checkpoint that carries one.

        Args:
            yaw: degrees, within +-YAW_LIMIT; positive turns to the picture's right.
            pitch: degrees, within +-PITCH_LIMIT; positive looks down.
            roll: degrees, within +-ROLL_LIMIT; positive tilts the top of the head to the picture's left.
            shape: (100,) FLAME shape coefficients, the average head when None.
            expression: Expression (its jaw counts, its eyelids have no place in FLAME) or (50,) coefficients.
            jaw: further opening of the mouth in degrees, 0 to JAW_LIMIT.
            size: side of the picture in pixels, 32 to 2048.

        Returns:
            (size, size, 3) uint8 normal map, background 127.

        Raises:
            PoseError: a number is not finite or outside its range, or an array has a wrong length.
            SettingsError: the size is outside its range.
            WeightsError: as for `load`.
        """
        from arc2face.pose.reading import draw_angles

        size = checks.whole("The normal map's size in pixels", size, (32, 2048))
        angles, opening = check_angles(yaw, pitch, roll), check_jaw(jaw)
        model, points = self._drawable()
        with _explained():
            return draw_angles(model, points, angles, shape, expression, opening, size)

    @property
    def model(self) -> emoca.Emoca:
        """Encoders and head, for reading many photos at once. Raises as `load`."""
        return self._loaded()

    def basis(self) -> HeadBasis:
        """How the head's 50 expression components move its vertices, for mixing regions. Raises as `load`."""
        from arc2face.expression.regions import HeadBasis

        model, points = self._drawable()
        geometry = model.geometry
        rest, places = geometry.v_template.double().cpu().numpy(), points.on(geometry.v_template)
        directions = geometry.shapedirs[:, :, -50:].double().cpu().numpy()
        return HeadBasis(rest, directions, places[:2].mean(0), places[3:].mean(0))

    def _loaded(self) -> emoca.Emoca:
        import arc2face_emoca as emoca

        with self._lock, _explained():
            if self._model is None:
                self._model = emoca.load(self._folders, device=self.device, cache_dir=self._cache())
            return self._model

    def _drawable(self) -> tuple[emoca.Emoca, FacePoints]:
        import arc2face_emoca as emoca

        with self._lock, _explained():
            if self._head is None:
                # always the same files, whether or not a photo was read before: the same angles, the same picture
                model = emoca.load_geometry(self._folders, device=self.device, cache_dir=self._cache())
                self._head = model, self._points(model)
            return self._head

    def _points(self, model: emoca.Emoca) -> FacePoints:
        from arc2face.pose.geometry import FacePoints

        return FacePoints.of(model.geometry)

    def _cache(self) -> Path:
        from arc2face.weights.store import cache_folder

        return self._cache_dir or cache_folder() / "emoca"


def _need_face(landmarks: Landmarks | None, which: str) -> Landmarks:
    if landmarks is None:
        raise NoFaceError(f"No face was found in the {which} photo. Choose one that shows a face clearly.")
    points = np.asarray(landmarks)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise PoseError(f"The {which} photo's landmarks must be 68 finite points; detect the face again.")
    return points


@contextmanager
def _explained() -> Generator[None]:
    """Turn emoca's errors into this library's; the messages already say what to do."""
    import arc2face_emoca as emoca

    try:
        yield
    except emoca.MissingAssetError as error:
        raise MissingWeightsError(str(error)) from error
    except emoca.IncompatibleAssetError as error:
        raise IncompatibleWeightsError(str(error)) from error
    except emoca.CorruptAssetError as error:
        raise CorruptWeightsError(str(error)) from error
    except emoca.EmocaError as error:
        raise PoseError(str(error)) from error
