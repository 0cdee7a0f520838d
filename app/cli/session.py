"""What the generating commands do alike: open the engine, find the person, run a request, save and report."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import console
from app.cli.options import parse_size
from arc2face.errors import CancelledError, MissingWeightsError, SettingsError

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.identities import IdentityReport
    from arc2face.types import GenerationRequest, GenerationResult, IdentityEmbedding, RgbU8

__all__ = [
    "ModelChoice",
    "Person",
    "Settings",
    "find_person",
    "generate",
    "open_engine",
    "photo",
    "save",
    "save_picture",
    "say_rows",
    "unused",
    "zero_based",
]

FAST_STEPS, FAST_GUIDANCE = 3, 1.0
STEPS, GUIDANCE = 25, 3.0


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which models run where."""

    models: Path | None
    device: str
    dtype: str
    vram: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Generation settings as the command line gives them; None means the usual value of the mode."""

    count: int = 4
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    fast: bool = False
    scheduler: str = "dpm++"
    size: str | None = None
    keep_best: int = 0
    score: bool = True

    def fields(self) -> dict[str, Any]:
        """As fields of GenerationRequest. A missing seed is drawn here, so that it can be reported."""
        from arc2face.types import MAX_SEED

        height, width = parse_size(self.size)
        steps, guidance = (FAST_STEPS, FAST_GUIDANCE) if self.fast else (STEPS, GUIDANCE)
        return {
            "num_images": self.count,
            "seed": secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
            "steps": steps if self.steps is None else self.steps,
            "guidance_scale": guidance if self.guidance is None else self.guidance,
            "fast": self.fast,
            "scheduler": self.scheduler,
            "height": height,
            "width": width,
            "keep_best": self.keep_best,
            "score": self.score,
        }

    def check(self) -> Settings:
        """The settings themselves, once the library accepts them: before any model is opened. Raises SettingsError."""
        import numpy as np

        from arc2face.types import EMBEDDING_SIZE, GenerationRequest, IdentityEmbedding

        anyone = IdentityEmbedding(np.ones(EMBEDDING_SIZE, np.float32))
        GenerationRequest(identity=anyone, **self.fields())
        return self


@dataclass(frozen=True, slots=True)
class Person:
    """Who is to be shown.

    `photos`: rgb_u8 as loaded, empty for a saved identity. `pick`: face of the first photo, from 0, None for the
    largest. `report`: None for a saved identity.
    """

    identity: IdentityEmbedding
    photos: tuple[RgbU8, ...] = ()
    report: IdentityReport | None = None
    warnings: tuple[str, ...] = ()
    pick: int | None = None

    def summary(self) -> dict[str, Any]:
        """JSON-ready facts, without the embedding itself."""
        facts: dict[str, Any] = {
            "photos": self.identity.photos,
            "norm": self.identity.norm,
            "recogniser_sha256": self.identity.recogniser_sha256,
            "warnings": list(self.warnings),
        }
        if self.report is not None:
            facts |= {"cosines": list(self.report.cosines), "outliers": list(self.report.outliers)}
            facts["used"] = list(self.report.used)
        return facts


@contextmanager
def open_engine(choice: ModelChoice) -> Generator[Engine]:
    """An engine that is closed afterwards; says so when the models are not the real ones."""
    from arc2face.engine import Engine

    engine = Engine.open(choice.models, device=choice.device, dtype=choice.dtype, vram=_vram(choice.vram))
    if engine.models.kind == "tiny":
        console.warn("These are tiny random models: the pictures will be noise. Fetch real ones: arc2face download")
    elif engine.models.kind == "starter":
        console.warn("These are the small starter models, trained on synthetic faces. Full ones: arc2face download")
    try:
        yield engine
    finally:
        engine.close()


def _vram(text: str) -> Any:
    if text not in ("resident", "offload", "sequential"):
        raise SettingsError(f"Unknown VRAM policy {text!r}; choose resident, offload or sequential.")
    return text


def photo(path: Path) -> RgbU8:
    """A photo as upright RGB. Raises ImageError."""
    from arc2face.pictures.loading import load_rgb_u8

    return load_rgb_u8(path)


def find_person(
    engine: Engine,
    photos: Sequence[Path] | None,
    identity: Path | None,
    picks: Sequence[int] | None = None,
    method: str = "mean",
    drop_outliers: bool = False,
) -> Person:
    """The person from photos or from a file; exactly one of both. Warnings are shown. Raises Arc2FaceError."""
    if bool(photos) == bool(identity):
        raise SettingsError("Give either photos of the person or --identity FILE, not both and not neither.")
    if identity is not None:
        from arc2face.faces.identities import load_identity

        found, warnings = load_identity(identity, _recogniser_in_use(engine))
        person = Person(found, warnings=warnings)
    else:
        pictures = tuple(photo(path) for path in photos or ())
        chosen = zero_based(picks, len(pictures))
        report = engine.identify(pictures, picks=chosen, method=method, drop_outliers=drop_outliers)
        person = Person(report.identity, pictures, report, report.warnings, chosen[0] if chosen else None)
    for text in person.warnings:
        console.warn(text)
    return person


def _recogniser_in_use(engine: Engine) -> str | None:
    """Hash to compare an identity file with; None when there is no recogniser, which generating does not need."""
    try:
        return str(engine.faces.recogniser_sha256)
    except MissingWeightsError:
        return None


def zero_based(picks: Sequence[int] | None, photos: int) -> list[int | None] | None:
    """Faces as people count them (from 1) to places (from 0). Raises SettingsError for more faces than photos."""
    if not picks:
        return None
    if len(picks) > photos:
        raise SettingsError(f"--face is given {len(picks)} times for {photos} photos; give it at most once per photo.")
    return [pick - 1 for pick in picks]


def generate(engine: Engine, request: GenerationRequest, title: str = "") -> GenerationResult:
    """Runs one request with a progress bar. Ctrl-C cancels it within one step."""
    job = engine.submit(request)
    with console.bars() as shown:
        task = shown.add_task(title or "waiting", total=None)
        try:
            for progress in job.events():
                words = f"{title}: {progress.stage}" if title else progress.message or progress.stage
                shown.update(task, description=words, completed=progress.step, total=progress.total or None)
        except KeyboardInterrupt:
            job.cancel()
            raise CancelledError("Stopped as you asked; nothing was kept.") from None
    return job.result()


def save(result: GenerationResult, folder: Path, name: str, embedding: bool = False) -> list[dict[str, Any]]:
    """Saves the pictures as PNG with their recipes, never over an existing file; returns one row per picture."""
    from arc2face.pictures.recipes import save_png

    rows: list[dict[str, Any]] = []
    for image in result.images:
        path = unused(folder / f"{name}-{image.seed}.png")
        save_png(image, result, path, embedding)
        rows.append(
            {"path": str(path), "seed": image.seed, "similarity": image.similarity, "face_found": image.face_found}
        )
    return rows


def save_picture(picture: RgbU8, path: Path) -> Path:
    """Saves a picture that is not a result of its own (normal map, sheet, paste-back) as PNG."""
    from arc2face.pictures.loading import to_png_bytes
    from arc2face.weights.store import replace_with

    with replace_with(path) as temporary:
        temporary.write_bytes(to_png_bytes(picture))
    return path


def unused(path: Path) -> Path:
    """The path itself, or the first of `name-2`, `name-3` ... that does not exist."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def say_rows(rows: Sequence[dict[str, Any]]) -> None:
    """One line per picture for people: path, seed, similarity."""
    for row in rows:
        similarity, found = row["similarity"], row["face_found"]
        words = f"similarity {similarity:.3f}" if similarity is not None else "no face found" if found is False else ""
        console.say("  ".join(part for part in (row["path"], f"seed {row['seed']}", words) if part))
