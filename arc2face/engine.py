"""The one object that the app, the command line and scripts use.

from arc2face import Engine, GenerationRequest, load_rgb_u8

engine = Engine.open()
person = engine.identify([load_rgb_u8("photo.jpg")]).identity
result = engine.generate(GenerationRequest(identity=person, seed=7))
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from arc2face.diffusion.device import is_device_failure, is_out_of_memory, pick_runtime
from arc2face.diffusion.generation import Generated, generate
from arc2face.diffusion.loading import picture_side
from arc2face.diffusion.registry import ModelRegistry
from arc2face.doctor import status
from arc2face.errors import Arc2FaceError, CancelledError, DeviceError, NoFaceError, WeightsError
from arc2face.faces.identities import IdentityReport
from arc2face.jobs import DeviceWorker, Job
from arc2face.pictures.loading import resize_square
from arc2face.pictures.recipes import describe
from arc2face.readers import Perception, Picture
from arc2face.types import (
    ComponentStatus,
    Expression,
    Float32Array,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    IdentityEmbedding,
    Progress,
    ProgressCallback,
    RgbU8,
    Runtime,
    VramPolicy,
)
from arc2face.weights.folder import ModelsFolder, best_bundle

if TYPE_CHECKING:
    from arc2face.pose.reader import PoseReading

log = logging.getLogger(__name__)


class Engine:
    """Models, photos in, pictures out. Methods may be called from any thread; requests share nothing."""

    def __init__(self, models: ModelsFolder, runtime: Runtime, inline: bool = False) -> None:
        """`inline`: run in the calling thread instead of a worker thread (ZeroGPU)."""
        self.models = models
        self.runtime = runtime
        self.worker = DeviceWorker(inline)
        self.registry = ModelRegistry(models, runtime)
        self.perception = Perception(models, runtime, self.worker)
        self._post = ThreadPoolExecutor(2, thread_name_prefix="arc2face-post")
        self._inline = inline

    @classmethod
    def open(
        cls,
        models: Path | str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        vram: VramPolicy = "resident",
        budget_bytes: int | None = None,
        preload: bool = False,
        inline: bool = False,
    ) -> Engine:
        """Open a models folder, or the best one found (see `arc2face.weights.folder.best_bundle`).

        Cheap: parts load when first used, or now with `preload`. Raises MissingWeightsError or DeviceError.
        """
        engine = cls(best_bundle(models), pick_runtime(device, dtype, vram, budget_bytes), inline)
        if preload:
            engine.preload()
        return engine

    def preload(self) -> None:
        """Load the parts of the Identity tab and every adapter whose file is there."""

        def load() -> None:
            self.registry.load_base()
            for name in self.registry.adapters:
                if self.registry.source(name) is not None:
                    self.registry.part(name)

        self.worker.call(load)

    @cached_property
    def native_size(self) -> int:
        """Side of the pictures the models were trained for, pixels."""
        return picture_side(self.models)

    @property
    def faces(self) -> Any:
        """The face analyser: `detect`, `embed`, `landmarks`."""
        return self.perception.faces

    def identify(
        self,
        photos: Sequence[Picture],
        *,
        picks: Sequence[int | None] | None = None,
        method: str = "mean",
        drop_outliers: bool = False,
    ) -> IdentityReport:
        """One person from their photos; `picks`: which face of each photo (0-based, None for the largest)."""
        return self.perception.identify(photos, picks, method, drop_outliers)

    def align(self, photo: Picture, pick: int | None = None, size: int | None = None) -> RgbU8:
        """FFHQ-aligned square of `size` pixels (the models' native size): what the reference adapter wants."""
        return self.perception.align(photo, size or self.native_size, pick, "the reference photo")

    def landmarks(self, photo: Picture, pick: int | None = None) -> Float32Array:
        """(68, 2) landmarks of one face in pixels of the photo. Raises NoFaceError."""
        return self.perception.landmarks(photo, pick)

    def landmarks_or_none(self, photo: Picture) -> Float32Array | None:
        """The same, None where no face is found: for pictures that were just drawn."""
        try:
            return self.perception.landmarks(photo)
        except NoFaceError:
            return None

    def read_expression(self, photo: Picture, pick: int | None = None) -> Expression:
        """The expression of one face in a photo."""
        return self.perception.read_expression(photo, pick).expression

    def read_pose(
        self, source: Picture, reference: Picture, source_pick: int | None = None, reference_pick: int | None = None
    ) -> PoseReading:
        """Shape of the source face, pose of the reference face, as a normal map of the models' native size."""
        reading = self.perception.read_pose(source, reference, source_pick, reference_pick)
        size = self.native_size
        return replace(reading, normal_map=resize_square(reading.normal_map, size)) if size != 512 else reading

    def normal_map(self, yaw: float, pitch: float, roll: float, **options: Any) -> RgbU8:
        """Normal map for a head turned by angles in degrees; see `arc2face.pose.reader.PoseReader.from_angles`."""
        options.setdefault("size", self.native_size)
        return self.worker.call(lambda: self.perception.pose_reader.from_angles(yaw, pitch, roll, **options))

    def submit(self, request: GenerationRequest) -> Job:
        """Enqueue a request. Missing model files are reported here, before anything runs."""
        self._check_files(request)
        job = Job(request, self._withdraw)
        threads = torch.get_num_threads()  # torch keeps this per thread: what the caller set must reach the worker
        self.worker.submit(lambda: self._run(job, threads), job)
        return job

    def generate(self, request: GenerationRequest, on_progress: ProgressCallback | None = None) -> GenerationResult:
        """Submit and wait. `on_progress` is called in this thread. Raises Arc2FaceError subclasses."""
        job = self.submit(request)
        for progress in job.events():
            if on_progress is not None:
                on_progress(progress)
        return job.result()

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Several requests, for example one per identity, in order."""
        return [job.result() for job in [self.submit(request) for request in requests]]

    def status(self) -> list[ComponentStatus]:
        """One row per part: where it lives, its size, licence, and how to get it when it is missing."""
        return status.rows(self.registry, self.perception)

    def missing(self, feature: str) -> list[str]:
        """Files that a feature (identity, fast, pose, expression, reference) still lacks, relative to the models."""
        return status.missing(self.registry, feature)

    def close(self) -> None:
        """Finish what runs, fail what waits, free the worker."""
        self.worker.close()
        self._post.shutdown(wait=True)

    def _withdraw(self, job: Job) -> None:
        if self.worker.withdraw(job):
            job.finish(CancelledError("Stopped as you asked; nothing was kept."))

    def _check_files(self, request: GenerationRequest) -> None:
        for name in self.registry.wanted(request):
            adapter = self.registry.adapters[name]
            if adapter.files:
                self.models.require(*adapter.files, feature=adapter.feature)

    def _run(self, job: Job, threads: int) -> None:
        """On the worker's thread: make the pictures, then hand over to the pool for scoring."""
        try:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            if job.cancelled:
                raise CancelledError("Stopped as you asked; nothing was kept.")
            # The first hash of a large file takes as long as reading it; it runs beside the denoising.
            hashes = self._post.submit(status.hashes, self.registry, self.registry.wanted(job.request))
            made = generate(self.registry, job.request, job.report, lambda: job.cancelled)
        except Arc2FaceError as error:
            job.finish(error)
        except RuntimeError as error:
            log.exception("generation failed")
            job.finish(_device_error(error, self.runtime))
        except BaseException as error:
            job.finish(error)
            raise
        else:
            if self._inline:
                self._finish(job, made, hashes)
            else:
                self._post.submit(self._finish, job, made, hashes)

    def _finish(self, job: Job, made: Generated, hashes: Future[dict[str, str]]) -> None:
        """Off the worker: score, keep the best, describe."""
        try:
            images = made.images
            if job.request.score:
                job.report(Progress("scoring", message="Comparing the faces"))
                images = self._scored_all(images, job.request.identity)
            adapters = self.registry.recipe(job.request)
            recipe = describe(job.request, hashes.result(), self.models.kind, adapters, made.notes)
            kept = keep_best(images, job.request.keep_best)
            result = GenerationResult(kept, job.request, recipe, made.seconds)
            job.report(Progress("done", message="Done"))
            job.finish(result)
        except BaseException as error:
            job.finish(error)

    def _scored_all(
        self, images: tuple[GeneratedImage, ...], identity: IdentityEmbedding
    ) -> tuple[GeneratedImage, ...]:
        try:
            return tuple(self._scored(image, identity) for image in images)
        except WeightsError as error:  # finished pictures are not thrown away for want of a score
            log.warning("pictures are not scored: %s", error)
            return images

    def _scored(self, image: GeneratedImage, identity: IdentityEmbedding) -> GeneratedImage:
        faces = self.perception.faces.detect(image.rgb_u8)
        if not faces:
            return replace(image, face_found=False)
        embedding = self.perception.faces.embed(image.rgb_u8, faces[0])
        return replace(image, face_found=True, similarity=embedding.cosine(identity))


def keep_best(images: Sequence[GeneratedImage], count: int) -> tuple[GeneratedImage, ...]:
    """The `count` most similar pictures, best first; 0 keeps all in order. Pictures without a face come last."""
    if count == 0:
        return tuple(images)
    ranked = sorted(images, key=lambda image: -2.0 if image.similarity is None else image.similarity, reverse=True)
    return tuple(ranked[:count])


def _device_error(error: RuntimeError, runtime: Runtime) -> BaseException:
    """A failure of the device in plain words; a bug of ours stays as it is."""
    if is_out_of_memory(error):
        return DeviceError(
            f"{runtime.device} ran out of memory. Close other programs, or start with --vram sequential."
        )
    if not is_device_failure(error):
        return error
    failed = DeviceError(
        f"{runtime.device} stopped working. Restart the program; if it happens again, restart the computer."
    )
    failed.__cause__ = error
    return failed
