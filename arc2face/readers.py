"""Everything that looks at photos: faces, identities, expressions, poses. Networks load on first use.

Nothing here waits for somebody's generation. The face networks run in onnxruntime, in the calling thread. The torch
encoders and the normal maps run on a thread of their own; where they share an accelerator with the denoiser, they are
served between its steps instead, so that two threads never use the device at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from arc2face import forks
from arc2face.errors import SettingsError
from arc2face.faces.alignment import align_rgb_u8
from arc2face.faces.analyser import ONE_CLEAR_FACE, FaceAnalyser
from arc2face.faces.covered import warning_of
from arc2face.faces.face import Face
from arc2face.faces.identities import IdentityReport, combine
from arc2face.faces.photo import Photo
from arc2face.faces.recogniser import check_recogniser
from arc2face.faces.turns import quarter_turns, turn_face, turn_picture, turn_points
from arc2face.jobs import DeviceWorker
from arc2face.pictures.loading import ImageSource, as_photos
from arc2face.types import Float32Array, IdentityEmbedding, RgbU8, Runtime
from arc2face.weights.folder import ModelsFolder

if TYPE_CHECKING:
    from arc2face.expression.reader import ExpressionReader, ExpressionReading
    from arc2face.expression.regions import HeadBasis
    from arc2face.pose.reader import PoseReader, PoseReading

T = TypeVar("T")
Picture: TypeAlias = "Photo | ImageSource"
"""A photo, whose findings are kept, or any picture, which is looked at anew."""
Photos: TypeAlias = "Picture | Iterable[Picture]"
PoseAngles: TypeAlias = "tuple[float, float, float]"
KEPT_PIXEL_BYTES = 128 * 1024 * 1024
"""Decoded pictures that an identity of several photos keeps for what may follow; more are decoded again when needed."""
RENDERED_ONLY = (
    "The small models in use learned from rendered people only; for photos of real ones, fetch the full models: "
    "arc2face download identity"
)


class Perception:
    """Reads photos with the networks of one models folder. Methods may be called from any thread.

    Photos are whatever `arc2face.pictures.loading.as_rgb_u8` takes; each method raises ImageError for what is not one.
    """

    def __init__(self, models: ModelsFolder, runtime: Runtime, worker: DeviceWorker, inline: bool = False) -> None:
        """`worker`: owns the device. `inline`: everything in the calling thread, on the CPU (ZeroGPU)."""
        self.models = models
        self.runtime = runtime
        # ZeroGPU's main process has no device; the networks that read photos are quick enough without one.
        self.device = "cpu" if inline else runtime.device
        self.worker = worker
        self._own = DeviceWorker(inline, "arc2face-readers")
        self._lock = threading.RLock()
        self._faces: FaceAnalyser | None = None
        self._expressions: ExpressionReader | None = None
        self._pose: PoseReader | None = None
        forks.remake_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: a new lock. The readers see to theirs."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """End the readers' thread."""
        self._own.close()

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
                self._faces = FaceAnalyser(detector, recogniser, landmarks, *_placed(self.device))
            return self._faces

    def face(self, picture: Picture, pick: int | None = None, name: str | None = None) -> Face:
        """One detected face, the likeliest or number `pick` (0-based). Raises NoFaceError naming the picture."""
        return self._face(Photo.of(picture, name), pick)

    def embed(self, picture: Picture, pick: int | None = None, name: str | None = None) -> IdentityEmbedding:
        """Identity embedding of one face of a picture."""
        photo = Photo.of(picture, name)
        return photo.embedding(self.faces, self._face(photo, pick))

    def identify(
        self,
        photos: Photos,
        picks: Sequence[int | None] | int | None = None,
        method: str = "mean",
        drop_outliers: bool = False,
    ) -> IdentityReport:
        """One person from one or several photos, decoded one after the other; see `arc2face.faces.identities.combine`.

        `picks`: which face of each photo, 0-based, None for the likeliest.
        """
        sources = [photos] if isinstance(photos, Photo) else as_photos(cast("Any", photos))
        chosen = _picks(picks, len(sources))
        embeddings, covered = list[IdentityEmbedding](), list[str]()
        pixels = 0
        for place, (source, pick) in enumerate(zip(sources, chosen, strict=True), start=1):
            photo = Photo.of(source, "the photo" if len(sources) == 1 else f"photo {place}")
            face = self._face(photo, pick)
            embeddings.append(photo.embedding(self.faces, face))
            if self.models.kind != "tiny":  # whose networks were never trained: their eyes lie anywhere
                covered.append(warning_of(photo.covered(self.faces, face), photo.name))
            pixels += photo.pixel_bytes
            if pixels > KEPT_PIXEL_BYTES:
                photo.forget_pixels()
        report = combine(embeddings, method=method, drop_outliers=drop_outliers)  # type: ignore[arg-type]
        return replace(report, warnings=(*report.warnings, *filter(None, covered)))

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
        rgb, face, landmarks = self._upright(Photo.of(picture, name), pick, self.faces.landmarks_path is not None)
        reader = self._expression_reader()
        return self._on_reader(lambda: reader.read(rgb, face, landmarks), shares_device=self.device != "cpu")

    def read_pose(
        self, source: Picture, reference: Picture, source_pick: int | None = None, reference_pick: int | None = None
    ) -> PoseReading:
        """Head shape of the source photo in the pose and expression of the reference photo."""
        first, _, points = self._upright(Photo.of(source, "the photo of the person"), source_pick)
        second, _, others = self._upright(Photo.of(reference, "the pose photo"), reference_pick)
        reader = self.pose_reader
        return self._on_reader(
            lambda: reader.read(first, points, second, others, detect=self._landmarks_or_none),
            shares_device=reader.device != "cpu",
        )

    def read_angles(self, picture: Picture, pick: int | None = None, name: str = "the picture") -> PoseAngles:
        """Yaw, pitch and roll of one face in degrees, as it lies in the (upright) picture; draws no normal map."""
        rgb, _, landmarks = self._upright(Photo.of(picture, name), pick)
        reader = self.pose_reader
        return self._on_reader(lambda: reader.angles(rgb, landmarks), shares_device=reader.device != "cpu")

    def normal_map(self, yaw: float, pitch: float, roll: float, **options: Any) -> RgbU8:
        """A head drawn at angles in degrees; see `arc2face.pose.reader.PoseReader.from_angles`."""
        reader = self.pose_reader
        return self._on_reader(
            lambda: reader.from_angles(yaw, pitch, roll, **options), shares_device=reader.device != "cpu"
        )

    def head_basis(self) -> HeadBasis:
        """How the head's expression components move its vertices. Raises MissingWeightsError."""
        reader = self.pose_reader
        return self._on_reader(reader.basis, shares_device=reader.device != "cpu")

    @property
    def pose_reader(self) -> PoseReader:
        """The head reconstruction. Raises MissingWeightsError with the registration pages."""
        from arc2face.pose.reader import PoseReader

        with self._lock:
            if self._pose is None:
                self._pose = PoseReader(self.pose_folders(), self.device)
            return self._pose

    def pose_folders(self) -> tuple[Path, ...]:
        """Where EMOCA's and FLAME's files may lie."""
        return self.models.places

    def _on_reader(self, run: Callable[[], T], shares_device: bool) -> T:
        return self.worker.light(run) if shares_device else self._own.call(run)

    def _face(self, photo: Photo, pick: int | None) -> Face:
        return photo.face(self.faces, pick, ONE_CLEAR_FACE if self.models.kind == "full" else RENDERED_ONLY)

    def _upright(
        self, photo: Photo, pick: int | None, with_landmarks: bool = True
    ) -> tuple[RgbU8, Face, Float32Array | None]:
        """Picture, face and landmarks, in quarter turns so that the face is upright: the encoders know no other."""
        face = self._face(photo, pick)
        rgb, turns = photo.rgb_u8, quarter_turns(face)
        size = (rgb.shape[0], rgb.shape[1])
        landmarks = turn_points(photo.landmarks(self.faces, face), turns, size) if with_landmarks else None
        return turn_picture(rgb, turns), turn_face(face, turns, size), landmarks

    def _landmarks_or_none(self, picture: RgbU8) -> Float32Array | None:
        faces = self.faces.detect(picture, turns=False)  # an aligned picture is upright
        return self.faces.landmarks(picture, faces[0]) if faces else None

    def _expression_reader(self) -> ExpressionReader:
        from arc2face.expression.reader import ExpressionReader

        with self._lock:
            if self._expressions is None:
                smirk = self.models.need("smirk")
                landmarker = self.models.locate("mediapipe")
                self._expressions = ExpressionReader(smirk, landmarker, self.device)
            return self._expressions


def _picks(picks: Sequence[int | None] | int | None, count: int) -> list[int | None]:
    """One pick per photo; those not given are None."""
    given: list[int | None] = [picks] if isinstance(picks, int) else list(picks or ())
    if len(given) > count:
        raise SettingsError(f"{len(given)} face numbers were given for {count} photos; give one per photo at most.")
    return given + [None] * (count - len(given))


def _placed(device: str) -> tuple[list[str] | None, int]:
    """The providers for onnxruntime and the number of the CUDA device. On other devices the CPU is quick enough."""
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"], 0
    _, _, number = device.partition(":")
    return None, int(number or 0)
