"""One person's pictures: from a plan's wishes to encoded files and rows, tries and choices included.

What is drawn depends on the plan, the person and the models alone: every picture has its own seed, and the batches are
those of the plan.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from arc2face.dataset import seeds
from arc2face.dataset.folder import canonical, picture_key
from arc2face.dataset.manifest import Row
from arc2face.dataset.planning import OpenSet
from arc2face.dataset.schedule import Wish, wishes
from arc2face.dataset.second import second_similarities
from arc2face.errors import (
    CancelledError,
    EmbeddingError,
    ExpressionError,
    InputError,
    InvalidNumbersError,
    MissingWeightsError,
    PoseError,
)
from arc2face.pictures.recipes import XMP, image_recipe, plain_png
from arc2face.types import (
    EXPRESSION_SIZE,
    Expression,
    ExpressionCondition,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    IdentityEmbedding,
    NegativeIdentity,
    PoseCondition,
    ReferenceCondition,
    RgbU8,
)

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.evaluation.judge import Judge
    from arc2face.faces.face import Face
    from arc2face.jobs import Job

__all__ = ["LEFT_OUT", "Drawer", "Drawn", "never"]

PERSONAL = (EmbeddingError, ExpressionError, PoseError, InvalidNumbersError)
"""What is wrong with one picture and becomes its row; everything else is wrong with the plan or the machine."""
KEPT_MAPS = 256
"""Normal maps that are kept for the next person: schedules with lists ask for the same ones again."""
LEFT_OUT = "left out: "
"""How the reason begins where a picture was drawn well and others of the person were better."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row of the manifest and its picture's file, None where there is none."""

    row: Row
    data: bytes | None


@dataclass(slots=True)
class _Try:
    """The best of a picture so far. `attempts`: how many were drawn. `reason`: why there is none."""

    picture: int
    wish: Wish
    attempts: int = 0
    image: GeneratedImage | None = None
    result: GenerationResult | None = None
    face: Face | None = None
    reason: str | None = None

    @property
    def score(self) -> float:
        return -2.0 if self.image is None or self.image.similarity is None else self.image.similarity


@dataclass
class Drawer:
    """Draws the people of one data set with one engine.

    `stop`: asked between batches; True raises CancelledError. `judge`: an independent recogniser that looks, too.
    """

    engine: Engine
    opened: OpenSet
    stop: Callable[[], bool] = never
    judge: Judge | None = None
    _maps: dict[tuple[float, float, float], RgbU8] = field(default_factory=dict["tuple[float, float, float]", "RgbU8"])

    def __post_init__(self) -> None:
        """Raises what is wrong with the plan for these models, before anything is drawn."""
        plan = self.opened.plan
        if plan.scored and not self.can_score:
            raise MissingWeightsError(
                "A lowest score and keeping the best need the face detector and recogniser. "
                "Run: arc2face download identity"
            )
        if self.judge is not None:
            if not self.can_score:
                raise MissingWeightsError(
                    "A second recogniser needs the face detector and the first one. Run: arc2face download identity"
                )
            self.judge.check_independent(self.engine.faces)
        self._request(self.opened.identities.keys[0], self.opened.identities.person(0), Wish(), 0, 0)
        made_by, ours = self.opened.identities.recogniser_sha256, self._recogniser
        if made_by is not None and ours is not None and made_by != ours:
            raise InputError(
                f"The identities were made by another recogniser ({made_by[:12]}) than the models' own ({ours[:12]}); "
                "the pictures would show somebody else. Choose the models that fit, or make the identities again."
            )

    def person(self, number: int) -> list[Drawn]:
        """All pictures of the person at place `number`. Raises Arc2FaceError for what is no fault of the person."""
        key = self.opened.identities.keys[number]
        plan = self.opened.plan
        try:
            identity = self.opened.identities.person(number)
            tries = [_Try(k, wish) for k, wish in enumerate(wishes(plan.schedule, plan.seed, key, plan.pictures))]
        except PERSONAL as error:
            return [self._row(number, _Try(k, Wish(), reason=str(error))) for k in range(plan.pictures)]
        waiting = tries
        for attempt in range(plan.max_tries):
            self._draw(key, identity, waiting, attempt)
            waiting = [each for each in waiting if each.reason is None and self._too_low(each)]
            if not waiting:
                break
        for each in waiting:
            each.reason = self._low_words(each)
        self._choose(tries)
        rows = [self._row(number, each) for each in tries]
        return rows if self.judge is None else self._judged(self.judge, tries, rows)

    def _judged(self, judge: Judge, tries: Sequence[_Try], rows: Sequence[Drawn]) -> list[Drawn]:
        seen = [
            (each.image.rgb_u8, each.face) if drawn.data is not None and each.image and each.face else None
            for each, drawn in zip(tries, rows, strict=True)
        ]
        seconds = second_similarities(judge, self.engine.faces, seen)
        return [
            Drawn(replace(drawn.row, second_similarity=second), drawn.data)
            for drawn, second in zip(rows, seconds, strict=True)
        ]

    @property
    def can_score(self) -> bool:
        """Whether the face networks are there."""
        return self.engine.models.locate("detector") is not None and self.engine.models.locate("arcface") is not None

    @cached_property
    def models(self) -> dict[str, str]:
        """Weight files behind the pictures and their scores, by part."""
        from arc2face.doctor import status
        from arc2face.weights.store import sha256_of

        example = self._request(self.opened.identities.keys[0], self.opened.identities.person(0), Wish(), 0, 0)
        plan = self.opened.plan
        conditions: dict[str, Any] = {}
        blank = np.full((64, 64, 3), 127, np.uint8)
        if plan.schedule.posed:
            conditions["pose"] = PoseCondition(blank, plan.drawing.pose_strength)
        if plan.schedule.expressions:
            conditions["expression"] = ExpressionCondition(Expression.neutral(), plan.drawing.expression_strength)
        registry = self.engine.registry
        found = status.hashes(registry, registry.wanted(example.with_(**conditions)))
        if self.judge is not None:
            found["judge"] = self.judge.sha256
        if self._recogniser is not None:
            found |= {"recogniser": self._recogniser, "detector": sha256_of(self.engine.faces.detector_path)}
        return found

    @property
    def models_json(self) -> str:
        """What every row says of the models."""
        return self._texts[2]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What every row says of how it was drawn: settings of the plan, and the kind of device and numbers."""
        plan, runtime = self.opened.plan, self.engine.runtime
        drawing = plan.drawing
        strengths = {"pose_strength": drawing.pose_strength, "expression_strength": drawing.expression_strength}
        device = runtime.device.partition(":")[0]
        found = drawing.request_fields | strengths | {"batch": plan.batch, "device": device, "dtype": runtime.dtype}
        if plan.references is not None:
            found["look_strength"] = plan.references.strength
        return found | ({"threads": plan.threads} if device == "cpu" else {})

    @cached_property
    def _recogniser(self) -> str | None:
        return str(self.engine.faces.recogniser_sha256) if self.can_score else None

    @cached_property
    def _texts(self) -> tuple[str, str, str]:
        return self.opened.plan.sha256, canonical(self.settings), canonical(self.models)

    def _draw(self, key: str, identity: IdentityEmbedding, tries: Sequence[_Try], attempt: int) -> None:
        """One more attempt for each, in the plan's batches; while one batch is scored the next one is drawn."""
        ahead: list[tuple[list[_Try], list[Job]]] = []
        try:
            for group in self._groups(tries):
                if self.stop():
                    raise CancelledError("Stopped as you asked; the shard under way is drawn again next time.")
                made = self._submit(key, identity, group, attempt)
                if made[0]:
                    ahead.append(made)
                if len(ahead) > 1:
                    self._take(*ahead.pop(0), identity)
            while ahead:
                self._take(*ahead.pop(0), identity)
        except BaseException:
            for _, jobs in ahead:
                for job in jobs:
                    job.cancel()
            raise

    def _groups(self, tries: Sequence[_Try]) -> Iterator[list[_Try]]:
        size = self.opened.plan.batch
        for first in range(0, len(tries), size):
            yield list(tries[first : first + size])

    def _submit(
        self, key: str, identity: IdentityEmbedding, group: Sequence[_Try], attempt: int
    ) -> tuple[list[_Try], list[Job]]:
        good: list[_Try] = []
        requests: list[GenerationRequest] = []
        for each in group:
            try:
                requests.append(self._request(key, identity, each.wish, each.picture, attempt))
                good.append(each)
            except PERSONAL as error:
                each.reason = str(error)
        return good, self.engine.submit_together(requests) if requests else []

    def _request(
        self, key: str, identity: IdentityEmbedding, wish: Wish, picture: int, attempt: int
    ) -> GenerationRequest:
        plan = self.opened.plan
        more: dict[str, Any] = {}
        if plan.negative is not None:
            other = IdentityEmbedding(np.asarray(plan.negative, np.float32))
            more["negative"] = NegativeIdentity(other, plan.negative_strength)
        if wish.angles is not None:
            more["pose"] = PoseCondition(self._map(wish.angles), plan.drawing.pose_strength, angles=wish.angles)
        if wish.expression is not None:
            values = np.asarray(wish.expression, np.float32).reshape(EXPRESSION_SIZE)
            more["expression"] = ExpressionCondition(Expression(values), plan.drawing.expression_strength)
        if plan.references is not None:
            more["reference"] = ReferenceCondition(self._reference(key, picture), plan.references.strength)
        return GenerationRequest(
            identity=identity,
            num_images=1,
            seed=seeds.picture_seed(plan.seed, key, picture, attempt),
            score=False,
            **plan.drawing.request_fields,
            **more,
        )

    def _map(self, angles: tuple[float, float, float]) -> RgbU8:
        found = self._maps.get(angles)
        if found is None:
            found = self.engine.normal_map(*angles)
            if len(self._maps) >= KEPT_MAPS:
                self._maps.pop(next(iter(self._maps)))
            self._maps[angles] = found
        return found

    def _reference(self, key: str, picture: int) -> RgbU8:
        photos, plan = self.opened.references, self.opened.plan
        assert photos is not None and plan.references is not None
        if plan.references.by == "person" and key:
            return photos.of([key])[key]
        share = seeds.share(plan.seed, key, picture, "reference")
        return photos.pictures[min(len(photos.pictures) - 1, int(share * len(photos.pictures)))]

    def _take(self, group: Sequence[_Try], jobs: Sequence[Job], identity: IdentityEmbedding) -> None:
        """Wait for a batch, score it, and keep what is better than before."""
        for each, job in zip(group, jobs, strict=True):
            try:
                result = job.result()
            except PERSONAL as error:
                each.reason = str(error)
                continue
            image, face = self._scored(result.images[0], identity)
            each.attempts += 1
            better = -2.0 if image.similarity is None else image.similarity
            if each.image is None or better > each.score:
                each.image, each.result, each.face = image, result, face

    def _scored(self, image: GeneratedImage, identity: IdentityEmbedding) -> tuple[GeneratedImage, Face | None]:
        if not self.can_score:
            return image, None
        analyser = self.engine.faces
        faces = analyser.detect(image.rgb_u8, turns=False)  # what was just drawn is upright
        if not faces:
            return replace(image, face_found=False), None
        similarity = analyser.embed(image.rgb_u8, faces[0]).cosine(identity)
        return replace(image, face_found=True, similarity=similarity), faces[0]

    def _too_low(self, each: _Try) -> bool:
        lowest = self.opened.plan.min_score
        return lowest is not None and each.score < lowest

    def _low_words(self, each: _Try) -> str:
        best = "none showed a face" if each.score < -1.0 else f"the best had {each.score:.3f}"
        tries = "the one try" if each.attempts == 1 else f"{each.attempts} tries"
        return f"similarity below {self.opened.plan.min_score:g} in {tries}; {best}"

    def _choose(self, tries: Sequence[_Try]) -> None:
        """Keep the person's best; the others become rows with the reason."""
        count = self.opened.plan.keep_best
        there = [each for each in tries if each.reason is None and each.image is not None]
        if not count or len(there) <= count:
            return
        for each in sorted(there, key=lambda one: (-one.score, one.picture))[count:]:
            each.reason = f"{LEFT_OUT}{count} of the person's pictures are more similar"

    def _row(self, number: int, each: _Try) -> Drawn:
        plan = self.opened.plan
        key, name = self.opened.identities.keys[number], picture_key(number, each.picture)
        angles = each.wish.angles or (None, None, None)
        attempt = 0 if each.image is None else self._attempt(key, each)
        sha, settings, models = self._texts
        row = Row(
            key=name,
            identity=key,
            identity_number=number,
            picture=each.picture,
            seed=seeds.picture_seed(plan.seed, key, each.picture, attempt),
            tries=each.attempts,
            pose_name=each.wish.pose_name,
            yaw=angles[0],
            pitch=angles[1],
            roll=angles[2],
            expression_name=each.wish.expression_name,
            expression=each.wish.expression,
            similarity=None if each.image is None else each.image.similarity,
            detector_score=None if each.face is None else float(each.face.score),
            error=each.reason,
            plan=sha,
            settings=settings,
            models=models,
            shard=number // plan.per_shard,
        )
        if each.reason is not None or each.image is None or each.result is None:
            return Drawn(row, None)
        data, pixels = encode(each.image, each.result, plan.picture, plan.quality)
        height, width = pixels.shape[:2]
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
        file = f"{name}.{plan.picture}"
        there = replace(row, width=width, height=height, file=file, bytes=len(data), pixels_sha256=digest)
        return Drawn(there, data)

    def _attempt(self, key: str, each: _Try) -> int:
        """Which attempt the kept picture is of."""
        assert each.image is not None
        plan = self.opened.plan
        numbers = range(each.attempts)
        return next(k for k in numbers if seeds.picture_seed(plan.seed, key, each.picture, k) == each.image.seed)


def encode(image: GeneratedImage, result: GenerationResult, kind: str, quality: int) -> tuple[bytes, RgbU8]:
    """The file of a picture, marked as synthetic, and the pixels that decoding it gives. PNG carries the recipe.

    No Content Credentials: a signature is another one each time, and equal plans give equal bytes.
    """
    if kind == "png":
        return plain_png(image.rgb_u8, image_recipe(image, result)), image.rgb_u8
    buffer = io.BytesIO()
    Image.fromarray(image.rgb_u8).save(buffer, "JPEG", quality=quality, subsampling=0, xmp=XMP.encode())
    data = buffer.getvalue()
    with Image.open(io.BytesIO(data)) as opened:
        return data, np.asarray(opened.convert("RGB"))
