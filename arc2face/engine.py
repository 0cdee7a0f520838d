"""The one object that the app, the command line and scripts use.

from arc2face import Engine, GenerationRequest

with Engine.open() as engine:
    person = engine.identify("photo.jpg").identity
    result = engine.generate(GenerationRequest(identity=person, seed=7))
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from arc2face import forks
from arc2face.diffusion.batch import Outcome, Part, run_parts
from arc2face.diffusion.device import device_error, pick_runtime
from arc2face.diffusion.generation import Generated
from arc2face.diffusion.graphs.opening import open_fast_path
from arc2face.diffusion.loading import picture_side
from arc2face.diffusion.registry import ModelRegistry
from arc2face.diffusion.small_decoder import with_decoder
from arc2face.diffusion.together import check_together, companions
from arc2face.doctor import status
from arc2face.doctor.component import ComponentStatus
from arc2face.errors import Arc2FaceError, CancelledError, DeviceError, InputError, NoFaceError, SettingsError
from arc2face.faces.identities import IdentityReport
from arc2face.jobs import DeviceWorker, Job
from arc2face.pictures.loading import resize_square
from arc2face.pictures.recipes import describe
from arc2face.readers import Perception, Photos, Picture
from arc2face.scoring import scored
from arc2face.settings import Switch
from arc2face.types import (
    Expression,
    Float32Array,
    GenerationRequest,
    GenerationResult,
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
MAX_FINISHING = 8
"""Runs whose pictures wait for their scores; beyond that the worker scores itself, and so makes no more of them."""
_open_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """Models, photos in, pictures out. Methods may be called from any thread; requests share nothing.

    Photos are paths, file contents, open files, Pillow images or arrays; see `arc2face.load_rgb_u8`. An engine works
    as a context manager, and in forked children too (on the CPU; an accelerator does not survive a fork).
    """

    def __init__(self, models: ModelsFolder, runtime: Runtime, inline: bool = False) -> None:
        """`inline`: run in the calling thread instead of a worker thread (ZeroGPU)."""
        self.models = models
        self.runtime = runtime
        self.worker = DeviceWorker(inline)
        self.registry = ModelRegistry(models, runtime, fast=open_fast_path(runtime, inline))
        self.perception = Perception(models, runtime, self.worker, inline)
        self._post = ThreadPoolExecutor(2, thread_name_prefix="arc2face-post")
        self._finishing = threading.BoundedSemaphore(MAX_FINISHING)
        self._inline = inline
        self._forked = False
        self._jobs: weakref.WeakSet[Job] = weakref.WeakSet()
        forks.remake_in_child(self)
        _open_engines.add(self)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise InputError("An engine cannot be sent to another process; open one there: Engine.open(...).")

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
        fast_path: Switch = "auto",
        batching: Switch = "auto",
    ) -> Engine:
        """Open a models folder, or the best one found (see `arc2face.weights.folder.best_bundle`).

        Cheap: parts load when first used, or now with `preload`. `fast_path`, `batching`: see `Runtime`.
        Raises MissingWeightsError or DeviceError.
        """
        runtime = pick_runtime(device, dtype, vram, budget_bytes, fast_path, batching)
        engine = cls(best_bundle(models), runtime, inline)
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
        photos: Photos,
        *,
        picks: Sequence[int | None] | int | None = None,
        method: str = "mean",
        drop_outliers: bool = False,
    ) -> IdentityReport:
        """One person from their photo or photos; `picks`: which face of each (0-based, None for the likeliest).

        Raises ImageError, NoFaceError, EmbeddingError, SettingsError or WeightsError.
        """
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
        self._check_fork()
        return self.perception.read_expression(photo, pick).expression

    def read_pose(
        self,
        source: Picture,
        reference: Picture,
        source_pick: int | None = None,
        reference_pick: int | None = None,
    ) -> PoseReading:
        """Shape of the source face, pose of the reference face, as a normal map of the models' native size."""
        self._check_fork()
        reading = self.perception.read_pose(source, reference, source_pick, reference_pick)
        size = self.native_size
        return replace(reading, normal_map=resize_square(reading.normal_map, size)) if size != 512 else reading

    def normal_map(self, yaw: float, pitch: float, roll: float, **options: Any) -> RgbU8:
        """Normal map for a head turned by angles in degrees; see `arc2face.pose.reader.PoseReader.from_angles`.

        Raises PoseError for angles outside the range of the pose model.
        """
        self._check_fork()
        options.setdefault("size", self.native_size)
        return self.perception.normal_map(yaw, pitch, roll, **options)

    def submit(self, request: GenerationRequest, previews: bool = True, score: bool = True) -> Job:
        """Enqueue a request. Missing model files are reported here, before anything runs.

        `previews`: False when nobody looks at the pictures in the making; then none are made. `score`: False when
        `arc2face.scoring.scored` comes later; all pictures are kept until then.
        """
        job = self._job(request, previews)
        job.score = score
        self.worker.submit(lambda: self._run(job), job)
        return job

    def submit_together(self, requests: Sequence[GenerationRequest]) -> list[Job]:
        """Enqueue requests of one kind as one batch of exactly these, whatever else waits. Raises as `submit`."""
        jobs = [self._job(request, False) for request in requests]
        check_together([job.request for job in jobs])
        self.worker.submit(lambda: run_parts(self.registry, self._parts(jobs)), jobs[0], jobs)
        return jobs

    def generate(self, request: GenerationRequest, on_progress: ProgressCallback | None = None) -> GenerationResult:
        """Submit and wait. `on_progress` is called in this thread. Raises Arc2FaceError subclasses.

        An interrupt (Ctrl-C) or an error in `on_progress` stops the run.
        """
        job = self.submit(request, previews=on_progress is not None)
        try:
            for progress in job.events():
                if on_progress is not None:
                    on_progress(progress)
            return job.result()
        except BaseException:
            job.cancel()
            raise

    def generate_batch(
        self, requests: Sequence[GenerationRequest], finished: list[GenerationResult] | None = None
    ) -> list[GenerationResult]:
        """Several requests, for example one per identity, in order. An error or interrupt stops those still to come.

        `finished`: a list that takes each result as it is made, so that those made before an error are not lost.
        """
        jobs: list[Job] = []
        results = [] if finished is None else finished
        try:
            for request in requests:
                jobs.append(self.submit(request, previews=False))
            for job in jobs:
                results.append(job.result())
            return results
        except BaseException:
            for job in jobs:
                job.cancel()
            raise

    def status(self) -> list[ComponentStatus]:
        """One row per part: where it lives, its size, licence, and how to get it when it is missing."""
        return status.rows(self.registry, self.perception)

    def missing(self, feature: str) -> list[str]:
        """Files that a feature (identity, fast, pose, expression, reference) still lacks, relative to the models."""
        return status.missing(self.registry, feature)

    def close(self) -> None:
        """Stop the run under way within a step, fail what waits, end the threads. Harmless when repeated.

        A run that has its pictures is finished. Every `result()` ends: with pictures, or with CancelledError.
        """
        _open_engines.discard(self)
        self.worker.close()
        self.perception.close()
        self._post.shutdown(wait=True)
        for job in list(self._jobs):
            job.finish(CancelledError("The engine was closed during this request."))

    def after_fork(self) -> None:
        """In a forked child: new threads, and new models if the fork cut a run off that had them in use."""
        self._forked = True
        forks.abandon(self._post)
        self._post = ThreadPoolExecutor(2, thread_name_prefix="arc2face-post")
        self._finishing = threading.BoundedSemaphore(MAX_FINISHING)
        for job in list(self._jobs):
            job.abandon(CancelledError("This request runs in the process that was forked; its result is there."))
        self._jobs = weakref.WeakSet()
        if self.worker.cut_off:
            forks.abandon(self.registry)
            self.registry = ModelRegistry(self.models, self.runtime)

    def _check_fork(self) -> None:
        # Inline (ZeroGPU), nothing touched the accelerator before the fork.
        if self._forked and not self._inline and self.runtime.device != "cpu":
            raise DeviceError(
                f"This process was forked from the one that opened the engine, and {self.runtime.device} does not "
                "survive that. Start processes with the method 'spawn' and open an engine in each."
            )

    def _job(self, request: GenerationRequest, previews: bool) -> Job:
        if not isinstance(request, GenerationRequest):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingsError(f"A GenerationRequest is needed, not {type(request).__name__}.")
        self._check_fork()
        request = with_decoder(request, self.models, self.runtime.device)
        self.check_files(request)
        job = Job(request, self._withdraw, previews)
        self._jobs.add(job)
        return job

    def _withdraw(self, job: Job) -> None:
        if self.worker.withdraw(job):
            job.finish(CancelledError("Stopped as you asked; nothing was kept."))

    def check_files(self, request: GenerationRequest) -> None:
        """Raises MissingWeightsError when a file is missing that a request needs, SettingsError for no adapter."""
        for name in self.registry.wanted(request):
            adapter = self.registry.adapters[name]
            if adapter.files:
                self.models.require(*adapter.files, feature=adapter.feature)

    def _run(self, job: Job) -> None:
        """On the worker's thread: make the pictures of a job, and of the waiting ones that run along with it."""
        batching = self.runtime.batching
        allowed = batching == "on" or (batching == "auto" and self.registry.fast.on)
        fits = companions(job.request) if allowed else None
        others = (
            [] if fits is None else self.worker.take_along(lambda other: not other.cancelled and fits(other.request))
        )
        run_parts(self.registry, self._parts([job, *others]))

    def _parts(self, jobs: Sequence[Job]) -> list[Part]:
        parts: list[Part] = []
        for each in jobs:
            try:
                parts.append(self._part(each))
            except Arc2FaceError as error:
                each.finish(error)
        return parts

    def _part(self, job: Job) -> Part:
        """What the device needs to know of a job; its pictures are handed over to the pool for scoring."""
        # The first hash of a large file takes as long as reading it; it runs beside the denoising.
        hashes = self._hashes(job.request)

        def report(progress: Progress) -> None:
            job.report(progress)
            self.worker.serve()  # previews and photo readers that share the device get their turn

        def finish(outcome: Outcome) -> None:
            if isinstance(outcome, Generated):
                self._hand_over(job, outcome, hashes)
            elif isinstance(outcome, RuntimeError):
                log.error("generation failed", exc_info=outcome)
                job.finish(device_error(outcome, self.runtime.device))
            else:
                job.finish(outcome)

        return Part(job.request, report, lambda: job.cancelled, finish, job.previews)

    def _hashes(self, request: GenerationRequest) -> Future[dict[str, str]]:
        try:
            return self._post.submit(status.hashes, self.registry, self.registry.wanted(request))
        except RuntimeError as error:  # the pool is closed, or the program ends
            raise CancelledError("The engine was closed during this request.") from error

    def _hand_over(self, job: Job, made: Generated, hashes: Future[dict[str, str]]) -> None:
        """Pictures are there; whatever happens to the pool, they are finished."""
        room = self._finishing
        if not self._inline and room.acquire(blocking=False):
            try:
                self._post.submit(self._finish, job, made, hashes).add_done_callback(lambda _: room.release())
                return
            except RuntimeError:  # closed in the meantime, or the program ends
                room.release()
                log.debug("the pool is closed; the pictures are finished here")
        self._finish(job, made, hashes)

    def _finish(self, job: Job, made: Generated, hashes: Future[dict[str, str]]) -> None:
        """Off the worker: score, keep the best, describe."""
        try:
            if job.score and job.request.score:
                job.report(Progress("scoring", message="Comparing the faces"))
            adapters = self.registry.recipe(job.request)
            recipe = describe(job.request, _known(hashes), self.models.kind, adapters, made.notes)
            result = GenerationResult(made.images, job.request, recipe, made.seconds)
            result = scored(result, self.perception) if job.score else result
            job.report(Progress("done", message="Done"))
            job.finish(result)
        except BaseException as error:
            job.finish(error)


def _known(hashes: Future[dict[str, str]]) -> dict[str, str]:
    """The hashes of the model files, or none: a file removed meanwhile does not cost the pictures."""
    try:
        return hashes.result()
    except Exception as error:
        log.warning("the recipe names no model files: %s", error)
        return {}


@atexit.register
def _close_all() -> None:
    """A program that ends in the middle of a run stops it first: a thread killed inside torch can crash the exit."""
    for engine in list(_open_engines):
        engine.close()
