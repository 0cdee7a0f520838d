"""`arc2face generate`: new pictures of one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import console
from app.cli.options import (
    AsJson,
    Count,
    Device,
    Dtype,
    Fast,
    Guidance,
    IdentityFile,
    KeepBest,
    Models,
    NoScore,
    OptionalPhotos,
    Output,
    Picks,
    Scheduler,
    Seed,
    Size,
    Steps,
    Vram,
)
from app.cli.session import ModelChoice, Person, Settings, find_person, generate, open_engine, save, say_rows

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import GenerationRequest

HELP = "New pictures of one person, from photos or a saved identity."

Method = Annotated[str, typer.Option(help="Several photos: mean or median.", rich_help_panel="The person")]
DropOutliers = Annotated[
    bool, typer.Option("--drop-outliers", help="Leave out photos of somebody else.", rich_help_panel="The person")
]
SaveIdentity = Annotated[
    Path | None, typer.Option(help="Also save the identity (.npz).", rich_help_panel="Answer", show_default=False)
]
KeepEmbedding = Annotated[
    bool,
    typer.Option(
        "--embedding-in-recipe",
        help="Put the identity embedding into the PNG, so that it can be made again without the photo. It is "
        "biometric data.",
        rich_help_panel="Answer",
    ),
]
FromRecipe = Annotated[
    Path | None,
    typer.Option(
        "--recipe", help="Take the settings from this PNG instead.", rich_help_panel="Pictures", show_default=False
    ),
]


def run(
    photos: OptionalPhotos = None,
    identity: IdentityFile = None,
    face: Picks = None,
    method: Method = "mean",
    drop_outliers: DropOutliers = False,
    count: Count = 4,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = "dpm++",
    size: Size = None,
    keep_best: KeepBest = 0,
    no_score: NoScore = False,
    recipe: FromRecipe = None,
    output: Output = Path("outputs"),
    save_identity: SaveIdentity = None,
    embedding_in_recipe: KeepEmbedding = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
) -> None:
    """Generates, saves and reports."""
    settings = Settings(count, seed, steps, guidance, fast, scheduler, size, keep_best, not no_score).check()
    with open_engine(ModelChoice(models, device, dtype, vram)) as engine:
        person = _person(engine, photos, identity, face, method, drop_outliers, recipe)
        request = _request(person, settings, recipe)
        if save_identity is not None and person is not None:
            from arc2face.faces.identities import save_identity as write

            write(save_identity, person.identity)
        result = generate(engine, request)
        rows = save(result, output, "face", embedding_in_recipe)
        if as_json:
            facts = person.summary() if person is not None else None
            console.answer({"images": rows, "person": facts, "recipe": result.recipe, "seconds": result.seconds})
        else:
            say_rows(rows)


def _person(
    engine: Engine,
    photos: list[Path] | None,
    identity: Path | None,
    face: list[int] | None,
    method: str,
    drop_outliers: bool,
    recipe: Path | None,
) -> Person | None:
    """None only when a recipe has to know the person itself."""
    if recipe is not None and not photos and identity is None:
        return None
    return find_person(engine, photos, identity, face, method, drop_outliers)


def _request(person: Person | None, settings: Settings, recipe: Path | None) -> GenerationRequest:
    from arc2face.types import GenerationRequest

    if recipe is not None:
        from arc2face.pictures.recipes import read_recipe, request_from_recipe

        stored: dict[str, Any] = read_recipe(recipe)
        return request_from_recipe(stored, person.identity if person is not None else None)
    assert person is not None
    return GenerationRequest(identity=person.identity, **settings.fields())
