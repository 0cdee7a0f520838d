"""What `arc2face dataset plan` does: find the people, make up the schedule, write the folder, say what it takes."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arc2face.errors import MissingWeightsError, SettingsError
from arc2face_app.cli import console

if TYPE_CHECKING:
    from arc2face.dataset.folder import DatasetFolder
    from arc2face.dataset.identities import Identities
    from arc2face.dataset.plan import DatasetPlan, References
    from arc2face.dataset.references import ReferencePhotos
    from arc2face.engine import Engine

__all__ = ["Asked", "make"]

MEASURED_PEOPLE = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of one call. `fields`: of the plan, as they are."""

    who: tuple[Path, ...]
    sample: int | None
    max_cosine: float
    skip_unreadable: bool
    person_column: str | None
    angles: Mapping[str, str | None]
    expressions: tuple[str, ...]
    schedule: str
    look: tuple[Path, ...]
    look_strength: float
    not_like: Path | None
    not_like_strength: float
    fields: Mapping[str, Any]
    per_shard: int | None


def make(asked: Asked, output: Path, models: Path | None, device: str, measure: bool) -> dict[str, Any]:
    """Facts of the folder that was made. Raises Arc2FaceError before anything is written."""
    from arc2face.dataset.catalogue import load_catalogue, parse_axes
    from arc2face.dataset.plan import DatasetPlan, people_per_shard
    from arc2face.dataset.planning import estimate, gigabytes, make_folder
    from arc2face.dataset.schedule import Schedule

    poses, ranges = parse_axes(asked.angles)
    with _engine(models, device) as engine:
        root = None if engine is None else engine.models.root
        expressions = load_catalogue(asked.expressions, root)
        schedule = Schedule(cast("Any", asked.schedule), poses, expressions=expressions, **ranges)
        people, warnings, facts = _people(asked, engine)
        photos, references = _look(asked, engine)
        plan = DatasetPlan(
            people=len(people),
            identities_sha256=people.sha256,
            schedule=schedule,
            references=references,
            per_shard=asked.per_shard or people_per_shard(len(people), int(asked.fields["pictures"])),
            **_negative(asked, engine),
            **asked.fields,
        )
        side = None if engine is None else engine.native_size
        folder = make_folder(plan, people, output, photos, side)
        seconds = _measured(engine, folder, plan) if measure else None
    cost = estimate(plan, side, seconds)
    return {
        "folder": str(folder.root),
        "plan": plan.sha256,
        "people": plan.people,
        "pictures": plan.total,
        "shards": plan.shards,
        "bytes": cost.bytes,
        "disk": gigabytes(cost.bytes),
        "seconds": cost.seconds,
        "warnings": warnings,
        **facts,
    }


@contextmanager
def _engine(models: Path | None, device: str) -> Generator[Engine | None]:
    """An engine; None where there are no models and none were asked for, since a list of embeddings needs none."""
    from arc2face.engine import Engine

    try:
        engine = Engine.open(models, device=device)
    except MissingWeightsError:
        if models is not None:
            raise
        yield None
        return
    with engine:
        yield engine


def _people(asked: Asked, engine: Engine | None) -> tuple[Identities, list[str], dict[str, Any]]:
    """Who is to be drawn, what is worth knowing about them, and how far drawn people are from one another."""
    from arc2face.dataset.who import find_people, from_files, new_people

    with console.bars() as shown:
        task = shown.add_task("reading the people", total=None)

        def progress(done: int, total: int | None) -> None:
            shown.update(task, completed=done, total=total)

        if len(asked.who) > 1:
            found = from_files(asked.who, engine, skip_unreadable=asked.skip_unreadable, progress=progress)
        else:
            found = find_people(
                next(iter(asked.who)),
                engine,
                skip_unreadable=asked.skip_unreadable,
                person_column=asked.person_column,
                progress=progress,
            )
    warnings = [*found.warnings, *(f"{each.name}: {each.reason}" for each in found.unread)]
    facts: dict[str, Any] = {"unread": [{"name": each.name, "reason": each.reason} for each in found.unread]}
    if asked.sample is None:
        return found.identities, warnings, facts
    seed = int(asked.fields["seed"])
    people, sampled = new_people(found.identities, asked.sample, seed=seed, max_cosine=asked.max_cosine)
    return people, warnings, facts | {"sampled_from": len(found.identities), "tries": sampled.tries}


def _look(asked: Asked, engine: Engine | None) -> tuple[ReferencePhotos | None, References | None]:
    """The photos whose look is kept, aligned."""
    from arc2face.dataset.plan import References
    from arc2face.dataset.references import ReferencePhotos

    if not asked.look:
        return None, None
    if engine is None:
        raise SettingsError("Keeping a photo's look needs models that align it. Run: arc2face download identity")
    names = _names(asked.look)
    photos = ReferencePhotos(names, tuple(engine.align(path) for path in asked.look))
    return photos, References(photos.sha256, len(photos.names), asked.look_strength)


def _negative(asked: Asked, engine: Engine | None) -> dict[str, Any]:
    """Fields of the plan for the person to lead away from."""
    from arc2face.sources import find_negative

    if asked.not_like is None:
        return {}
    if engine is None:
        raise SettingsError("Leading away from a person needs models. Run: arc2face download identity")
    found = find_negative(engine, asked.not_like, asked.not_like_strength)
    assert found is not None
    return {"negative": tuple(found.identity.vector.tolist()), "negative_strength": found.strength}


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(path.stem for path in paths)


def _measured(engine: Engine | None, folder: DatasetFolder, plan: DatasetPlan) -> float | None:
    """Seconds per picture, from the pictures of two people; the first one warms up."""
    from arc2face.dataset.drawing import Drawer
    from arc2face.dataset.planning import open_set
    from arc2face.dataset.shards import threads_of

    if engine is None:
        return None
    drawer = Drawer(engine, open_set(folder))
    with threads_of(drawer):
        drawer.person(0)
        started = time.perf_counter()
        people = range(1, min(plan.people, MEASURED_PEOPLE + 1)) or range(1)
        for number in people:
            drawer.person(number)
    return (time.perf_counter() - started) / (len(people) * plan.pictures)
