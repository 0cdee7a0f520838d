"""Everything that looks at photos: faces, identities, expressions, poses. Networks load on first use.

The face networks run in onnxruntime and may be called from any thread; the torch encoders run on the device worker.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from arc2face.faces.alignment import align_rgb_u8
from arc2face.faces.analyser import ONE_CLEAR_FACE, FaceAnalyser
from arc2face.faces.face import Face
from arc2face.faces.identities import IdentityReport, combine
from arc2face.faces.photo import Photo
from arc2face.faces.recogniser import check_recogniser
from arc2face.jobs import DeviceWorker
from arc2face.pictures.loading import ImageSource
from arc2face.types import Float32Array, IdentityEmbedding, RgbU8, Runtime
from arc2face.weights.folder import ModelsFolder

if TYPE_CHECKING:
    from arc2face.expression.reader import ExpressionReader, ExpressionReading
    from arc2face.pose.reader import PoseReader, PoseReading

Picture: TypeAlias = "Photo | ImageSource"
"""A photo, whose findings are kept, or any picture, which is looked at anew."""
AVATARS_ONLY = (
    "The small models in use know drawn avatars only; for photos of people, fetch the full ones: "
    "arc2face download identity"
)


class Perception:
    """Reads photos with the networks of one models folder."""

    def __init__(self, models: ModelsFolder, runtime: Runtime, worker: DeviceWorker) -> None:
        self.models = models
        self.runtime = runtime
        self.worker = worker
        self._lock = threading.RLock()
        self._faces: FaceAnalyser | None = None
        self._expressions: ExpressionReader | None = None
        self._pose: PoseReader | None = None

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the readers in memory: detector, recogniser, landmarks, smirk, pose."""
        names = list(self._faces.loaded) if self._faces is not None else []
        names += ["smirk"] if self._expressions is not None and self._expressions.loaded else []
        return (*names, "pose") if self._pose is not None else tuple(names)

    @property
    def faces(self) -> FaceAnalyser:
        """Detector, recogniser and landmarks. Raises MissingWeightsError or WrongRecogniserError."""
        with self._lock:
            if self._faces is None:
                detector = self.models.need("detector")
                check_recogniser((self.models.locate("arcface") or detector).parent)
                recogniser = self.models.need("arcface")
                landmarks = self.models.locate("landmarks")
                self._faces = FaceAnalyser(detector, recogniser, landmarks, _providers(self.runtime))
            return self._faces

    def face(self, picture: Picture, pick: int | None = None, name: str | None = None) -> Face:
        """One detected face, the best or number `pick` (0-based). Raises NoFaceError naming the picture."""
        return self._face(Photo.of(picture, name), pick)

    def embed(self, picture: Picture, pick: int | None = None, name: str | None = None) -> IdentityEmbedding:
        """Identity embedding of one face of a picture."""
        photo = Photo.of(picture, name)
        return photo.embedding(self.faces, self._face(photo, pick))

    def identify(
        self,
        photos: Sequence[Picture],
        picks: Sequence[int | None] | None = None,
        method: str = "mean",
        drop_outliers: bool = False,
    ) -> IdentityReport:
        """One person from one or several photos; see `arc2face.faces.identities.combine`."""
        chosen = list(picks) if picks is not None else [None] * len(photos)
        chosen += [None] * (len(photos) - len(chosen))
        names = ["the photo"] if len(photos) == 1 else [f"photo {i + 1}" for i in range(len(photos))]
        embeddings = [self.embed(*row) for row in zip(photos, chosen, names, strict=True)]
        return combine(embeddings, method=method, drop_outliers=drop_outliers)  # type: ignore[arg-type]

    def landmarks(self, picture: Picture, pick: int | None = None, name: str | None = None) -> Float32Array:
        """(68, 2) landmarks of one face, pixels."""
        photo = Photo.of(picture, name)
        return photo.landmarks(self.faces, self._face(photo, pick))

    def align(self, picture: Picture, size: int, pick: int | None = None, name: str | None = None) -> RgbU8:
        """FFHQ-aligned square of one face."""
        photo = Photo.of(picture, name)
        return align_rgb_u8(photo.rgb_u8, self.landmarks(photo, pick), size)

    def read_expression(
        self, picture: Picture, pick: int | None = None, name: str = "the expression photo"
    ) -> ExpressionReading:
        """The 55 FLAME numbers of one face, from SMIRK, and where its crop came from."""
        photo = Photo.of(picture, name)
        face = self._face(photo, pick)
        landmarks = photo.landmarks(self.faces, face) if self.faces.landmarks_path is not None else None
        return self.worker.call(lambda: self._expression_reader().read(photo.rgb_u8, face, landmarks))

    def read_pose(
        self, source: Picture, reference: Picture, source_pick: int | None = None, reference_pick: int | None = None
    ) -> PoseReading:
        """Head shape of the source photo in the pose and expression of the reference photo."""
        person, pose = Photo.of(source, "the photo of the person"), Photo.of(reference, "the pose photo")
        source_points, points = self.landmarks(person, source_pick), self.landmarks(pose, reference_pick)
        return self.worker.call(
            lambda: self.pose_reader.read(
                person.rgb_u8, source_points, pose.rgb_u8, points, detect=self._landmarks_or_none
            )
        )

    def _face(self, photo: Photo, pick: int | None) -> Face:
        return photo.face(self.faces, pick, ONE_CLEAR_FACE if self.models.kind == "full" else AVATARS_ONLY)

    def _landmarks_or_none(self, picture: RgbU8) -> Float32Array | None:
        faces = self.faces.detect(picture)
        return self.faces.landmarks(picture, faces[0]) if faces else None

    @property
    def pose_reader(self) -> PoseReader:
        """The head reconstruction. Raises MissingWeightsError with the registration pages."""
        from arc2face.pose.reader import PoseReader

        with self._lock:
            if self._pose is None:
                self._pose = PoseReader(self.pose_folders(), self.runtime.device)
            return self._pose

    def pose_folders(self) -> tuple[Path, ...]:
        """Where EMOCA's and FLAME's files may lie."""
        return self.models.places

    def _expression_reader(self) -> ExpressionReader:
        from arc2face.expression.reader import ExpressionReader

        with self._lock:
            if self._expressions is None:
                smirk = self.models.need("smirk")
                landmarker = self.models.locate("mediapipe")
                self._expressions = ExpressionReader(smirk, landmarker, self.runtime.device)
            return self._expressions


def _providers(runtime: Runtime) -> list[str] | None:
    # ZeroGPU emulates CUDA for torch only, and on other devices the CPU is quick enough for these networks.
    return None if runtime.device.startswith("cuda") else ["CPUExecutionProvider"]
