"""The plan of a data set: a frozen value whose canonical JSON, hashed, names the set.

`make_folder` writes it with the people it is about; `load_plan` reads and checks it. A folder belongs to one plan: a
changed one is refused, because half of the pictures would be of the old.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast

import numpy as np

from arc2face import checks
from arc2face.dataset.folder import canonical
from arc2face.dataset.schedule import Schedule
from arc2face.errors import EmbeddingError, InputError, SettingsError
from arc2face.settings import (
    CONTROL_STRENGTH_RANGE,
    DEFAULT_LOOK_STRENGTH,
    DEFAULT_NEGATIVE_STRENGTH,
    DEFAULT_SCHEDULER,
    LOOK_STRENGTH_RANGE,
    MAX_IMAGES,
    MAX_SEED,
    NEGATIVE_STRENGTH_RANGE,
    Decoder,
)
from arc2face.sources.settings import check_settings
from arc2face.types import IdentityEmbedding

__all__ = ["DatasetPlan", "Drawing", "References", "people_per_shard"]

FORMAT = "arc2face-dataset"
VERSION = 1
MAX_PEOPLE = 9_999_999
MAX_PICTURES = 9_999
"""Most pictures of one person: a picture's name has four digits for it."""
MAX_TRIES = 64
PICTURES_PER_SHARD = 64
"""Usual size of a shard: what a killed worker loses at most."""
FEWEST_SHARDS = 16
PictureFormat = Literal["png", "jpg"]
FORMATS: tuple[PictureFormat, ...] = ("png", "jpg")
DECODERS: tuple[Decoder, ...] = ("exact", "small")
"""`auto` is none: it would choose by the device, and pictures must not depend on who draws them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How pictures are drawn: settings of every request, see `GenerationRequest`; None is the mode's usual value.

    `height`, `width`: pixels, None for the models' own size. `pose_strength`, `expression_strength`: 0 to 2.
    """

    fast: bool = False
    steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str = DEFAULT_SCHEDULER
    height: int | None = None
    width: int | None = None
    decoder: Decoder = "exact"
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pose_strength: float = 1.0
    expression_strength: float = 1.0

    def __post_init__(self) -> None:
        checks.choice("The decoder of a data set", self.decoder, DECODERS)
        for name in ("pose_strength", "expression_strength"):
            words = f"The {name.replace('_', ' ')}"
            object.__setattr__(self, name, checks.number(words, getattr(self, name), CONTROL_STRENGTH_RANGE))
        for name, value in check_settings(**self.request_fields).items():
            object.__setattr__(self, name, value)

    @property
    def request_fields(self) -> dict[str, Any]:
        """As fields of a GenerationRequest."""
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.name.endswith("_strength")}


@dataclass(frozen=True, slots=True)
class References:
    """Photos whose look is kept: hash of `references.npz`, how many, the look's strength, and who gets which.

    `by`: person (each has a photo under their own key) or any (drawn anew for every picture).
    """

    sha256: str
    count: int
    strength: float = DEFAULT_LOOK_STRENGTH
    by: Literal["person", "any"] = "any"

    def __post_init__(self) -> None:
        _digest("The hash of the reference photos", self.sha256)
        checks.whole("The number of reference photos", self.count, (1, MAX_PEOPLE))
        checks.choice("Who gets which reference photo", self.by, ("person", "any"))
        found = checks.number("The look strength", self.strength, LOOK_STRENGTH_RANGE)
        object.__setattr__(self, "strength", found)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlan:
    """Everything that decides a data set. Two equal plans with the same models give the same pictures.

    `people`, `identities_sha256`: the identities it is about (`Identities.sha256`). `pictures`: per person.
    `negative`: 512 numbers of a person to steer away from, or None; `negative_strength`: how much, 0 to 1.
    `min_score`: a picture whose cosine to the asked identity is lower, or that shows no face, is drawn again with the
    next seed, `max_tries` times at most; a picture that never reaches it becomes a row with the reason. `keep_best`:
    only each person's k most similar pictures are kept (0 keeps all). `per_shard`: people of one shard. `batch`:
    pictures on the device at once, 1 to 8, part of the plan because another number rounds the last digits differently,
    as does another number of `threads` on a CPU. `picture`: png or jpg (with `quality`). `seed`: of the plan.
    """

    people: int
    identities_sha256: str
    pictures: int = 4
    schedule: Schedule = field(default_factory=Schedule)
    drawing: Drawing = field(default_factory=Drawing)
    references: References | None = None
    negative: tuple[float, ...] | None = None
    negative_strength: float = DEFAULT_NEGATIVE_STRENGTH
    min_score: float | None = None
    max_tries: int = 1
    keep_best: int = 0
    per_shard: int = 16
    batch: int = 4
    threads: int = 1
    picture: PictureFormat = "png"
    quality: int = 95
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {
            "people": ("The number of people", (1, MAX_PEOPLE)),
            "pictures": ("The number of pictures per person", (1, MAX_PICTURES)),
            "max_tries": ("The number of tries", (1, MAX_TRIES)),
            "per_shard": ("The number of people per shard", (1, 100_000)),
            "batch": ("The batch size", (1, MAX_IMAGES)),
            "threads": ("The number of threads", (1, 256)),
            "quality": ("The quality of JPEG files", (1, 100)),
            "seed": ("The plan's seed", (0, MAX_SEED)),
        }
        for name, (words, limits) in whole.items():
            object.__setattr__(self, name, checks.whole(words, getattr(self, name), limits))
        best = checks.whole("The number of pictures to keep", self.keep_best, (0, self.pictures))
        object.__setattr__(self, "keep_best", best)
        _digest("The hash of the identities", self.identities_sha256)
        checks.choice("The kind of picture files", self.picture, FORMATS)
        if self.min_score is not None:
            score = checks.number("The lowest score", self.min_score, (-1.0, 1.0))
            object.__setattr__(self, "min_score", score)
        elif self.max_tries > 1:
            raise SettingsError("Several tries need a lowest score (--min-score) that says when to try again.")
        strength = checks.number(
            "The strength of the negative identity", self.negative_strength, NEGATIVE_STRENGTH_RANGE
        )
        object.__setattr__(self, "negative_strength", strength)
        if self.negative is not None:
            if (self.drawing.guidance_scale or 0.0) <= 1.0:
                raise SettingsError("Steering away from a person needs a guidance scale above 1; fast mode has 1.")
            object.__setattr__(self, "negative", _negative(self.negative))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.people // self.per_shard)

    def people_of(self, shard: int) -> range:
        """Places of the people in a shard. Raises SettingsError for a shard that is not there."""
        shard = checks.whole("The shard", shard, (0, self.shards - 1))
        return range(shard * self.per_shard, min(self.people, (shard + 1) * self.per_shard))

    @property
    def total(self) -> int:
        """How many pictures are asked for, which is how many rows the manifests have."""
        return self.people * self.pictures

    @property
    def scored(self) -> bool:
        """Whether the face networks decide which pictures are kept."""
        return self.min_score is not None or self.keep_best > 0

    def to_json(self) -> str:
        """Canonical JSON."""
        content = {"format": FORMAT, "version": VERSION}
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain |= {"schedule": self.schedule.to_dict(), "drawing": asdict(self.drawing)}
        plain["references"] = None if self.references is None else asdict(self.references)
        plain["negative"] = None if self.negative is None else list(self.negative)
        return canonical(content | plain)

    @property
    def sha256(self) -> str:
        """The plan's hash."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> DatasetPlan:
        """From parsed JSON. Raises InputError, with the reason, for anything that `to_json` would not write."""
        data = dict(content)
        if data.pop("format", None) != FORMAT or data.pop("version", None) != VERSION:
            raise InputError(f"This is no plan of a data set (format {FORMAT}, version {VERSION}).")
        try:
            data["schedule"] = Schedule.from_dict(data["schedule"])
            data["drawing"] = Drawing(**data["drawing"])
            data["references"] = data["references"] and References(**data["references"])
            data["negative"] = data["negative"] and tuple(data["negative"])
            return cls(**data)
        except SettingsError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"The plan is damaged ({' '.join(str(error).split())[:120]}). Make it again.") from error


def people_per_shard(people: int, pictures: int) -> int:
    """People of a shard of the usual size; of a small set fewer, so that several workers find something to do."""
    return max(1, min(PICTURES_PER_SHARD // pictures, people // FEWEST_SHARDS))


def _digest(what: str, value: object) -> None:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise SettingsError(f"{what} must be 64 hex digits, not {checks.shown(value)}.")


def _negative(values: Any) -> tuple[float, ...]:
    try:
        vector = IdentityEmbedding(np.asarray(values, np.float32)).vector
    except (EmbeddingError, TypeError, ValueError) as error:
        raise SettingsError(f"The person to steer away from cannot be used: {error}") from error
    return tuple(cast("list[float]", vector.tolist()))
