"""`arc2face generate`: new pictures of one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arc2face.settings import DEFAULT_IMAGES, DEFAULT_NEGATIVE_STRENGTH, DEFAULT_SCHEDULER
from arc2face_app.cli.options import (
    AsJson,
    Count,
    Decode,
    Device,
    Dtype,
    Enlarge,
    Fast,
    FastPath,
    Guidance,
    GuidanceEnd,
    GuidanceStart,
    IdentityFile,
    KeepBest,
    Models,
    NoScore,
    NotLike,
    NotLikeStrength,
    OptionalPhotos,
    Output,
    Picks,
    Scheduler,
    Seed,
    Size,
    Steps,
    Vram,
)
from arc2face_app.cli.output import check_file, check_folder, save, tell
from arc2face_app.cli.session import (
    ModelChoice,
    Settings,
    check_enlarge,
    find_negative,
    find_person,
    generate,
    open_engine,
)

if TYPE_CHECKING:
    from arc2face.sources import Person
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
    count: Count = DEFAULT_IMAGES,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = DEFAULT_SCHEDULER,
    size: Size = None,
    decoder: Decode = "auto",
    guidance_start: GuidanceStart = 0.0,
    guidance_end: GuidanceEnd = 1.0,
    keep_best: KeepBest = 0,
    not_like: NotLike = None,
    not_like_strength: NotLikeStrength = DEFAULT_NEGATIVE_STRENGTH,
    no_score: NoScore = False,
    recipe: FromRecipe = None,
    output: Output = Path("outputs"),
    enlarge: Enlarge = None,
    save_identity: SaveIdentity = None,
    embedding_in_recipe: KeepEmbedding = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
    fast_path: FastPath = "auto",
) -> None:
    """Generates, saves and reports."""
    shortcuts = (decoder, guidance_start, guidance_end)
    chosen = Settings(count, seed, steps, guidance, fast, scheduler, size, keep_best, not no_score, *shortcuts)
    settings = chosen.fields()
    output, save_identity = check_folder(output), check_file(save_identity)
    enlarge = check_enlarge(enlarge)
    with open_engine(ModelChoice(models, device, dtype, vram, fast_path)) as engine:
        # only a recipe may have to know the person itself
        known = recipe is not None and not photos and identity is None
        person = None if known else find_person(engine, photos, identity, face, method, drop_outliers)
        settings["negative"] = find_negative(engine, not_like, not_like_strength)
        request = _request(person, settings, recipe)
        if save_identity is not None and person is not None:
            from arc2face.faces.identities import save_identity as write

            write(save_identity, person.identity)
        result = generate(engine, request)
        rows = save(result, output, "face", embedding_in_recipe, enlarge)
        facts = person.facts if person is not None else None
        tell({"images": rows, "person": facts, "recipe": result.recipe, "seconds": result.seconds}, as_json)


def _request(person: Person | None, settings: dict[str, Any], recipe: Path | None) -> GenerationRequest:
    from arc2face.types import GenerationRequest

    if recipe is not None:
        from arc2face.pictures.recipes import read_recipe, request_from_recipe

        stored: dict[str, Any] = read_recipe(recipe)
        request = request_from_recipe(stored, person.identity if person is not None else None)
        return request.with_(negative=settings["negative"])
    assert person is not None
    return GenerationRequest(identity=person.identity, **settings)
