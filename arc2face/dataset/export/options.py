"""What an export may be told, and which formats there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from arc2face import checks
from arc2face.errors import SettingsError

__all__ = ["ALIGNMENTS", "FORMATS", "PICTURE_FORMATS", "ExportFormat", "ExportSummary", "Options", "check"]

Align = Literal["none", "arcface", "ffhq"]
ALIGNMENTS: dict[str, str] = {
    "none": "the whole picture",
    "arcface": "the recogniser's crop: eyes, nose and mouth corners on ArcFace's five points",
    "ffhq": "FFHQ's square around the head",
}
PICTURE_FORMATS = ("png", "jpg")
CROP_SIZE = 112
"""Side of the crops that ArcFace-like recognisers train on, pixels."""
SIZE_RANGE = (16, 2048)
SHARD_BYTES = 500_000_000
"""Size to which files of the formats that split are filled, bytes; the Hub recommends less than 1 GB."""
SHARD_RANGE = (1_000, 50_000_000_000)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One format: what it is for, and what it does where nothing else is asked for.

    `title`: one line for help texts. `readers`: who reads it. `align`, `size`, `picture_format`: the usual values; None
    is as drawn. `rows`: whether it carries the manifest's columns along.
    """

    title: str
    readers: str
    align: Align = "none"
    size: int | None = None
    picture_format: str | None = None
    rows: bool = False


FORMATS: dict[str, ExportFormat] = {
    "folder": ExportFormat("one folder per person", "torchvision ImageFolder, InsightFace, im2rec, anything"),
    "rec": ExportFormat(
        "RecordIO: train.rec, train.idx, train.lst, property",
        "arcface_torch (MXFaceDataset), and with --shuffle DALI, AdaFace, CVLface",
        "arcface",
        CROP_SIZE,
        "jpg",
    ),
    "lmdb": ExportFormat(
        "LMDB: index -> msgpack of picture, embedding and label", "Vec2Face", "arcface", CROP_SIZE, "jpg"
    ),
    "webdataset": ExportFormat("tar files of picture, .cls and .json", "webdataset, the Hub", rows=True),
    "parquet": ExportFormat(
        "Parquet files with a data set card, ready for the Hub", "datasets, pandas, polars", rows=True
    ),
    "lora": ExportFormat(
        "pictures with captions, a folder per person and metadata.jsonl", "kohya-ss, diffusers' LoRA scripts", rows=True
    ),
}
"""Every format by the name that `--to` takes."""


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one export, checked; the fields are described at `arc2face.dataset.export.export`."""

    to: str
    align: str
    size: int | None
    picture_format: str
    quality: int
    min_similarity: float | None
    min_second_similarity: float | None
    exclude: frozenset[str]
    people: tuple[str, ...] | None
    per_person: int | None
    shuffle: bool
    seed: int
    shard_bytes: int
    repeats: int
    trigger: str
    features: bool
    drawn: str

    @property
    def format(self) -> ExportFormat:
        """The row of FORMATS."""
        return FORMATS[self.to]

    @property
    def unchanged(self) -> bool:
        """Whether pictures go out as the bytes they lie in the shards."""
        return self.align == "none" and self.size is None and self.picture_format == self.drawn

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-ready settings for the export's own record."""
        found: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__ if name != "exclude"}
        found["excluded"] = len(self.exclude)
        return found


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What came out.

    `out`: the finished folder. `pictures`, `people`, `bytes`: what is in it. `left_out`: reason -> number of pictures.
    `details`: what the format has to say (number of files and so on). `warnings`: sentences for the user.
    """

    out: Path
    to: str
    pictures: int
    people: int
    bytes: int
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()


def check(
    to: str,
    *,
    drawn: str,
    align: str | None,
    size: int | None,
    picture_format: str | None,
    quality: int,
    min_similarity: float | None,
    min_second_similarity: float | None,
    exclude: Collection[str],
    people: Collection[str] | None,
    per_person: int | None,
    shuffle: bool,
    seed: int,
    shard_bytes: int,
    repeats: int,
    trigger: str,
    features: bool,
) -> Options:
    """The options with the format's usual values filled in. `drawn`: png or jpg, as the set's pictures are.

    Raises SettingsError.
    """
    checks.choice("The export format", to, FORMATS)
    usual = FORMATS[to]
    align = checks.choice("The alignment", usual.align if align is None else align, ALIGNMENTS)
    usual_size = CROP_SIZE if align == "arcface" else None
    size = usual_size if size is None else checks.whole("The size", size, SIZE_RANGE)
    if align == "arcface" and size is not None and size % 112 and size % 128:
        raise SettingsError(f"ArcFace crops are a multiple of 112 or of 128 pixels wide, not {size}.")
    picture_format = "jpg" if picture_format == "jpeg" else picture_format
    picture_format = picture_format or ("jpg" if align == "arcface" else usual.picture_format or drawn)
    cosine = (-1.0, 1.0)
    return Options(
        to=to,
        align=align,
        size=size,
        picture_format=checks.choice("The picture format", picture_format, PICTURE_FORMATS),
        quality=checks.whole("The JPEG quality", quality, (1, 100)),
        min_similarity=None
        if min_similarity is None
        else checks.number("The least similarity", min_similarity, cosine),
        min_second_similarity=None
        if min_second_similarity is None
        else checks.number("The least second similarity", min_second_similarity, cosine),
        exclude=_names("What is excluded", exclude),
        people=None if people is None else tuple(sorted(_names("The people to export", people))),
        per_person=None if per_person is None else checks.whole("Pictures per person", per_person, (1, 10_000)),
        shuffle=checks.flag("shuffle", shuffle),
        seed=checks.whole("The seed", seed, (0, 2**63)),
        shard_bytes=checks.whole("The size of a file", shard_bytes, SHARD_RANGE),
        repeats=checks.whole("The number of repeats", repeats, (1, 1000)),
        trigger=_trigger(trigger),
        features=checks.flag("features", features),
        drawn=drawn,
    )


def _names(what: str, given: object) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise SettingsError(f"{what} must be a list of keys.")
    return frozenset(given)


def _trigger(given: object) -> str:
    if not isinstance(given, str) or len(given) > 100 or not given.isprintable() or "," in given:
        raise SettingsError("The trigger must be a word or two (at most 100 characters, no comma).")
    return given.strip()
