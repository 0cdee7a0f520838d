"""The frozen values that travel between the user interface, the engine and the models.

Conventions: pictures are `rgb_u8`, arrays of shape (H, W, 3), dtype uint8, RGB, upright. Points are (x, y) in
pixels, origin in the upper left corner. Angles are radians unless a name says degrees. Vectors are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import EmbeddingError, ExpressionError, InputError, SettingsError
from arc2face.settings import (
    CONTROL_STRENGTH_RANGE,
    DECODERS,
    DEFAULT_IMAGES,
    DEFAULT_LOOK_STRENGTH,
    DEFAULT_NEGATIVE_STRENGTH,
    DEFAULT_SCHEDULER,
    FAST_SCHEDULER,
    FULL,
    GUIDANCE_SHARE,
    LOOK_STRENGTH_RANGE,
    MAX_IMAGES,
    MAX_SEED,
    NEGATIVE_STRENGTH_RANGE,
    SCHEDULERS,
    Decoder,
    Switch,
    VramPolicy,
    mode_of,
)

Float32Array = NDArray[np.float32]
RgbU8 = NDArray[np.uint8]

EMBEDDING_SIZE = 512
EXPRESSION_SIZE = 55
MAX_NORM = 1e6
"""Longest accepted identity embedding; beyond it float32 arithmetic is no longer safe."""


@dataclass(frozen=True, slots=True, eq=False)
class IdentityEmbedding:
    """One person as the recogniser sees them.

    `vector`: (512,) float32, as the recogniser returned it (not normalised; a typical norm is 15 to 30).
    `recogniser_sha256`: hash of the recogniser that made it, None when unknown.
    `photos`: how many photos went into it.
    """

    vector: Float32Array
    recogniser_sha256: str | None = None
    photos: int = 1

    def __post_init__(self) -> None:
        vector = _vector(self.vector, EMBEDDING_SIZE, EmbeddingError, "An identity embedding")
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if length < 1e-6:
            raise EmbeddingError("The identity embedding is all zeros; it describes nobody. Compute it again.")
        if length > MAX_NORM:
            raise EmbeddingError(
                f"The identity embedding is {length:.3g} long; a recogniser gives about 15 to 30. Compute it again."
            )
        _set(self, vector=vector, photos=checks.whole("The number of photos", self.photos, (1, 1_000_000)))

    @property
    def norm(self) -> float:
        """Euclidean length of `vector`."""
        return float(np.linalg.norm(self.vector))

    @property
    def normalized(self) -> Float32Array:
        """(512,) float32 of length 1: what the text encoder receives."""
        return (self.vector / np.float32(self.norm)).astype(np.float32)

    def cosine(self, other: IdentityEmbedding) -> float:
        """Cosine similarity to another embedding, -1 to 1."""
        return float(np.dot(self.normalized, other.normalized))


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """FLAME expression numbers in the order of the expression adapter (SMIRK's output).

    `values`: (55,) float32 = 50 expression components (unbounded, about -3 to 3), 2 eyelids (left, right of the
    person; 0 open, 1 closed), 3 jaw rotations as axis-angle in radians (opening >= 0, then two within +-0.2).
    """

    values: Float32Array

    def __post_init__(self) -> None:
        _set(self, values=_vector(self.values, EXPRESSION_SIZE, ExpressionError, "An expression"))

    @classmethod
    def neutral(cls) -> Expression:
        """All zeros: eyes open, mouth closed."""
        return cls(np.zeros(EXPRESSION_SIZE, np.float32))

    @property
    def components(self) -> Float32Array:
        """(50,) expression components."""
        return self.values[:50]

    @property
    def eyelids(self) -> Float32Array:
        """(2,) left and right eyelid of the person, 0 open to 1 closed."""
        return self.values[50:52]

    @property
    def jaw(self) -> Float32Array:
        """(3,) jaw rotation, axis-angle, radians; the first number opens the mouth."""
        return self.values[52:55]


@dataclass(frozen=True, slots=True, eq=False)
class PoseCondition:
    """Head pose as a map of world-space normals.

    `normal_map`: rgb_u8, (nx, ny, nz) mapped from -1..1 to 0..255, background 127.
    `strength`: scale of the ControlNet residuals, 0 to 2. `start`, `end`: share of the steps it acts in, 0 to 1.
    `angles`: yaw, pitch and roll in degrees that the map was drawn from or read with, None when unknown; for the
    recipe only.
    """

    normal_map: RgbU8
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    angles: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        checks.rgb_picture("The normal map", self.normal_map)
        share = (0.0, 1.0)
        _set(
            self,
            strength=checks.number("The pose strength", self.strength, CONTROL_STRENGTH_RANGE),
            start=checks.number("The start of the pose", self.start, share),
            end=checks.number("The end of the pose", self.end, share),
        )
        if not self.start < self.end:
            raise SettingsError(
                f"The pose must end after its start: 0 <= start < end <= 1, not {self.start:g} and {self.end:g}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class ExpressionCondition:
    """An expression and how strongly it acts: `strength` 0 (ignored) to 1 (as trained); up to 2 is accepted."""

    expression: Expression
    strength: float = 1.0

    def __post_init__(self) -> None:
        _set(self, strength=checks.number("The expression strength", self.strength, CONTROL_STRENGTH_RANGE))


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceCondition:
    """A photo whose look and background are kept.

    `image`: rgb_u8, FFHQ-aligned. `strength`: weight of the reference LoRA, 0 to 1 (0.8 is the usual value; near 1
    the photo is copied, expression included). `latent_noise`: optional (1, C, h, w) float32 standard normal sample
    for the VAE posterior, for exact comparisons; drawn from the seed when None.
    """

    image: RgbU8
    strength: float = DEFAULT_LOOK_STRENGTH
    latent_noise: Float32Array | None = None

    def __post_init__(self) -> None:
        checks.rgb_picture("The reference picture", self.image)
        _set(self, strength=checks.number("The look strength", self.strength, LOOK_STRENGTH_RANGE))


@dataclass(frozen=True, slots=True, eq=False)
class NegativeIdentity:
    """Somebody the pictures should not look like: guidance leads away from them instead of from nobody.

    `strength`: 0 (the empty prompt, as without) to 1 (that person's prompt); in between the prompt embeddings are
    mixed. Not in the paper; it acts only where the guidance scale is above 1.
    """

    identity: IdentityEmbedding
    strength: float = DEFAULT_NEGATIVE_STRENGTH

    def __post_init__(self) -> None:
        person: Any = self.identity
        _set(
            self,
            identity=person if isinstance(person, IdentityEmbedding) else IdentityEmbedding(person),
            strength=checks.number("The strength of the negative identity", self.strength, NEGATIVE_STRENGTH_RANGE),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GenerationRequest:
    """Everything that decides the pixels of one generation. Two equal requests give the same pictures.

    `num_images`: 1 to 8. `seed`: picture k uses seed + k. `steps`: denoising steps, None for the mode's usual number;
    `guidance_scale`: classifier-free guidance, 1 switches it off, None for the mode's usual value. Both are filled in
    on construction (`arc2face.settings.Mode`). `fast`: LCM-LoRA with the LCM sampler; `steps` is then 1 to 8.
    `scheduler`: a name of SCHEDULERS, ignored in fast mode. `height`, `width`: pixels, multiples of 8; None means
    the models' native size (or the normal map's, floored to 8, as the original ControlNet demo does).
    Approximations, whose quality nobody has verified: `decoder`, a name of DECODERS (`auto` is exact, but for fast mode
    on a CPU where the small decoder's file is there); `guidance_start`, `guidance_end`: shares of the steps between
    which guidance acts, 0 and 1 for all; the other steps cost half. Fewer `steps` is the third.
    `noise`: (n, C, h/8, w/8) float32 standard normal start; `step_noise`: (steps - 1, n, C, h/8, w/8) for LCM's
    renoising. Both are drawn from the seeds when None; they exist for exact comparisons.
    `negative`: whom guidance leads away from; needs a guidance scale above 1.
    `score`: embed each result and report its cosine to `identity`.
    `keep_best`: keep only the best k by that score (0 keeps all). `keep_latents`: return the final latents too.
    `extras`: settings of adapters that have no field of their own here, by the adapter's name.
    """

    identity: IdentityEmbedding
    num_images: int = DEFAULT_IMAGES
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    fast: bool = False
    scheduler: str = DEFAULT_SCHEDULER
    height: int | None = None
    width: int | None = None
    decoder: Decoder = "auto"
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pose: PoseCondition | None = None
    expression: ExpressionCondition | None = None
    reference: ReferenceCondition | None = None
    negative: NegativeIdentity | None = None
    noise: Float32Array | None = None
    step_noise: Float32Array | None = None
    score: bool = True
    keep_best: int = 0
    keep_latents: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        person: Any = self.identity  # people pass bare vectors, too
        if not isinstance(person, IdentityEmbedding):
            _set(self, identity=IdentityEmbedding(person))
        fast = checks.flag("Fast mode", self.fast)
        mode, suffix = mode_of(fast), " in fast mode" if fast else ""
        count = checks.whole("The number of pictures", self.num_images, (1, MAX_IMAGES))
        steps = mode.steps if self.steps is None else self.steps
        guidance = mode.guidance_scale if self.guidance_scale is None else self.guidance_scale
        _set(
            self,
            fast=fast,
            num_images=count,
            seed=checks.whole("The seed", self.seed, (0, MAX_SEED)),
            steps=checks.whole(f"The number of steps{suffix}", steps, mode.steps_range),
            guidance_scale=checks.number("The guidance scale", guidance, mode.guidance_range),
            keep_best=checks.whole("The number of pictures to keep", self.keep_best, (0, count)),
            scheduler=checks.choice("The scheduler", self.scheduler, SCHEDULERS),
            height=None if self.height is None else checks.size("The height", self.height),
            width=None if self.width is None else checks.size("The width", self.width),
            decoder=checks.choice("The decoder", self.decoder, DECODERS),
            guidance_start=checks.number("The start of guidance", self.guidance_start, GUIDANCE_SHARE),
            guidance_end=checks.number("The end of guidance", self.guidance_end, GUIDANCE_SHARE),
        )
        if not self.guidance_start < self.guidance_end:
            raise SettingsError(
                "Guidance must end after its start: 0 <= start < end <= 1, not "
                f"{self.guidance_start:g} and {self.guidance_end:g}. A guidance scale of 1 switches it off."
            )
        if self.guidance > 1.0 and not self.guided_steps:
            raise SettingsError(
                f"Guidance would act in none of the {self.steps} steps: between {self.guidance_start:g} and "
                f"{self.guidance_end:g} of them begins no step. Widen that share, or use more steps."
            )
        if self.negative is not None and self.guidance <= 1.0:
            raise SettingsError(
                "Leading away from another person takes guidance, which is off at a scale of 1; "
                f"{'about 1.5 in fast mode, ' if fast else ''}{FULL.guidance_scale:g} is usual otherwise."
            )
        if self.scheduler == FAST_SCHEDULER and not fast:
            raise SettingsError("The lcm scheduler belongs to fast mode; switch fast mode on, or choose another.")
        extras: Any = self.extras
        if not isinstance(extras, Mapping) or not all(isinstance(name, str) for name in extras):
            raise SettingsError("extras must map adapters' names to their settings.")
        _set(self, extras=dict(self.extras))

    @property
    def denoising_steps(self) -> int:
        """`steps`, which is never None once the request exists."""
        return mode_of(self.fast).steps if self.steps is None else self.steps

    @property
    def guidance(self) -> float:
        """`guidance_scale`, which is never None once the request exists."""
        return mode_of(self.fast).guidance_scale if self.guidance_scale is None else self.guidance_scale

    @property
    def guided_steps(self) -> int:
        """In how many steps guidance acts, as far as its scale switches it on."""
        steps = self.denoising_steps
        return sum(self.guidance_start <= step / steps < self.guidance_end for step in range(steps))

    def with_(self, **changes: Any) -> GenerationRequest:
        """A copy with some fields changed (and checked again)."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedImage:
    """One picture. `similarity`: cosine to the input identity, None when not scored or when no face was found.

    `face_found`: None when not scored. `latents`: (C, h, w) float32, final, not divided by the scaling factor.
    """

    rgb_u8: RgbU8
    seed: int
    similarity: float | None = None
    face_found: bool | None = None
    latents: Float32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GenerationResult:
    """The pictures of one request, with what is needed to make them again.

    `recipe`: JSON-ready settings, model hashes and versions (never the embedding itself).
    `seconds`: wall time per stage.
    """

    images: tuple[GeneratedImage, ...]
    request: GenerationRequest
    recipe: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """Where a request is. `stage`: queued, loading, encoding, denoising, decoding, scoring or done.

    `step` of `total` within the stage; `queue_position` 0 means running; `seconds_left` is an estimate or None;
    `preview`: small rgb_u8 of the first picture while denoising, or None. `message`: one plain sentence.
    """

    stage: str
    step: int = 0
    total: int = 0
    queue_position: int = 0
    seconds_left: float | None = None
    preview: RgbU8 | None = None
    message: str = ""


ProgressCallback = Callable[[Progress], None]
Dtype = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how the models run.

    `device`: cpu, cuda, cuda:1, mps. `dtype`: fp32, fp16, or bf16 (on some CPUs). `vram`: resident keeps every loaded
    part on the device; offload moves adapters that are not in use to host memory; sequential moves every part on and
    off around its use.
    `budget_bytes`: upper bound for loaded weights on the device; the least recently used adapter leaves first.
    `fast_path`: captured steps on CUDA; auto uses them where they can be had, on insists, off does without.
    `batching`: whether waiting requests of one kind run together; auto does so on the fast path.
    """

    device: str
    dtype: Dtype
    vram: VramPolicy = "resident"
    budget_bytes: int | None = None
    fast_path: Switch = "auto"
    batching: Switch = "auto"


def _vector(values: object, size: int, error: type[InputError], what: str) -> Float32Array:
    """A read-only (size,) float32 copy; raises `error` for another size, NaN, infinities or what is no number."""
    try:
        with np.errstate(over="ignore"):
            vector = np.array(values, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as reason:
        raise error(f"{what} consists of {size} numbers, not of {checks.shown(values)}.") from reason
    if vector.shape != (size,):
        raise error(f"{what} has {size} numbers; this one has {vector.size}.")
    if not np.isfinite(vector).all():
        raise error(f"{what} must not hold NaN or infinite numbers; compute it again.")
    vector.setflags(write=False)
    return vector


def _set(value: object, **fields: Any) -> None:
    """Fill in checked fields of a frozen value that is being made."""
    for name, field_value in fields.items():
        object.__setattr__(value, name, field_value)
