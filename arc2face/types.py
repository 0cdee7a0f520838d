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

from arc2face.errors import EmbeddingError, ExpressionError, SettingsError

Float32Array = NDArray[np.float32]
RgbU8 = NDArray[np.uint8]

EMBEDDING_SIZE = 512
EXPRESSION_SIZE = 55
MAX_IMAGES = 8
MAX_SEED = 2**32 - 1 - MAX_IMAGES
STEPS_RANGE = (1, 100)
FAST_STEPS_RANGE = (1, 8)
GUIDANCE_RANGE = (1.0, 10.0)
SCHEDULERS = ("dpm++", "dpm++-karras", "unipc", "euler", "ddim", "lcm")
"""Names of the tested samplers. `lcm` belongs to fast mode and to no other."""

VramPolicy = Literal["resident", "offload", "sequential"]


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
        vector = np.asarray(self.vector, dtype=np.float32).reshape(-1)
        if vector.shape != (EMBEDDING_SIZE,):
            raise EmbeddingError(f"An identity embedding has {EMBEDDING_SIZE} numbers; this one has {vector.size}.")
        if not np.isfinite(vector).all():
            raise EmbeddingError("The identity embedding holds NaN or infinite numbers; compute it again.")
        if float(np.linalg.norm(vector)) < 1e-6:
            raise EmbeddingError("The identity embedding is all zeros; it describes nobody. Compute it again.")
        vector = vector.copy()
        vector.setflags(write=False)
        object.__setattr__(self, "vector", vector)

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
        values = np.asarray(self.values, dtype=np.float32).reshape(-1)
        if values.shape != (EXPRESSION_SIZE,):
            raise ExpressionError(f"An expression has {EXPRESSION_SIZE} numbers; this one has {values.size}.")
        if not np.isfinite(values).all():
            raise ExpressionError("The expression holds NaN or infinite numbers.")
        values = values.copy()
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

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
    """

    normal_map: RgbU8
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_picture(self.normal_map, "The normal map")
        _check_range("ControlNet strength", self.strength, 0.0, 2.0)
        if not 0.0 <= self.start < self.end <= 1.0:
            raise SettingsError(
                f"ControlNet start and end must satisfy 0 <= start < end <= 1, not {self.start} and {self.end}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class ExpressionCondition:
    """An expression and how strongly it acts: `strength` 0 (ignored) to 1 (as trained); up to 2 is accepted."""

    expression: Expression
    strength: float = 1.0

    def __post_init__(self) -> None:
        _check_range("Expression strength", self.strength, 0.0, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceCondition:
    """A photo whose look and background are kept.

    `image`: rgb_u8, FFHQ-aligned. `strength`: weight of the reference LoRA, 0 to 1 (0.8 is the usual value; near 1
    the photo is copied, expression included). `latent_noise`: optional (1, C, h, w) float32 standard normal sample
    for the VAE posterior, for exact comparisons; drawn from the seed when None.
    """

    image: RgbU8
    strength: float = 0.8
    latent_noise: Float32Array | None = None

    def __post_init__(self) -> None:
        _check_picture(self.image, "The reference picture")
        _check_range("Reference strength", self.strength, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GenerationRequest:
    """Everything that decides the pixels of one generation. Two equal requests give the same pictures.

    `num_images`: 1 to 8. `seed`: picture k uses seed + k. `steps`: denoising steps. `guidance_scale`: classifier-free
    guidance, 1 switches it off. `fast`: LCM-LoRA with the LCM sampler; `steps` is then 1 to 8.
    `scheduler`: a name of SCHEDULERS, ignored in fast mode. `height`, `width`: pixels, multiples of 8; None means
    the models' native size (or the normal map's, floored to 8, as the original ControlNet demo does).
    `noise`: (n, C, h/8, w/8) float32 standard normal start; `step_noise`: (steps - 1, n, C, h/8, w/8) for LCM's
    renoising. Both are drawn from the seeds when None; they exist for exact comparisons.
    `score`: embed each result and report its cosine to `identity`.
    `keep_best`: keep only the best k by that score (0 keeps all). `keep_latents`: return the final latents too.
    """

    identity: IdentityEmbedding
    num_images: int = 4
    seed: int = 0
    steps: int = 25
    guidance_scale: float = 3.0
    fast: bool = False
    scheduler: str = "dpm++"
    height: int | None = None
    width: int | None = None
    pose: PoseCondition | None = None
    expression: ExpressionCondition | None = None
    reference: ReferenceCondition | None = None
    noise: Float32Array | None = None
    step_noise: Float32Array | None = None
    score: bool = True
    keep_best: int = 0
    keep_latents: bool = False

    def __post_init__(self) -> None:
        _check_int("The number of pictures", self.num_images, 1, MAX_IMAGES)
        _check_int("The seed", self.seed, 0, MAX_SEED)
        low, high = FAST_STEPS_RANGE if self.fast else STEPS_RANGE
        _check_int("The number of steps" + (" in fast mode" if self.fast else ""), self.steps, low, high)
        _check_range("The guidance scale", self.guidance_scale, *GUIDANCE_RANGE)
        _check_int("keep_best", self.keep_best, 0, self.num_images)
        if self.scheduler not in SCHEDULERS:
            raise SettingsError(f"Unknown scheduler {self.scheduler!r}; choose one of {', '.join(SCHEDULERS)}.")
        if self.scheduler == "lcm" and not self.fast:
            raise SettingsError("The lcm scheduler belongs to fast mode; switch fast mode on, or choose another.")
        for name, size in (("height", self.height), ("width", self.width)):
            if size is not None and (size % 8 or not 64 <= size <= 1024):
                raise SettingsError(f"The {name} must be a multiple of 8 between 64 and 1024, not {size}.")

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters this request needs."""
        wanted = {
            "reference": self.reference is not None,
            "lcm": self.fast,
            "pose": self.pose is not None,
            "expression": self.expression is not None,
        }
        return tuple(name for name, on in wanted.items() if on)

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


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how the models run.

    `device`: cpu, cuda, cuda:1, mps. `dtype`: fp32 or fp16. `vram`: resident keeps every loaded part on the device;
    offload moves adapters that are not in use to host memory; sequential moves every part on and off around its use.
    `budget_bytes`: upper bound for loaded weights on the device; the least recently used adapter leaves first.
    """

    device: str
    dtype: Literal["fp32", "fp16"]
    vram: VramPolicy = "resident"
    budget_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One row of the Models panel. `state`: missing, on disk, host memory, or the device's name.

    `bytes`: size in memory when loaded, on disk otherwise. `sha256`: of the weight file, empty until computed.
    `remedy`: the command that fetches a missing part, or empty.
    """

    name: str
    title: str
    state: str
    source: str = ""
    sha256: str = ""
    licence: str = ""
    dtype: str = ""
    bytes: int = 0
    remedy: str = ""


def _check_picture(picture: object, name: str) -> None:
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise SettingsError(f"{name} must be an RGB array of shape (height, width, 3) with 8 bits per channel.")
    if min(picture.shape[:2]) < 8:
        raise SettingsError(f"{name} must be at least 8 pixels wide and high.")


def _check_range(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # NaN fails too
        raise SettingsError(f"{name} must lie between {low:g} and {high:g}, not {value}.")


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} must be a whole number between {low} and {high}, not {value}.")
