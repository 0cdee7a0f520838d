"""The list of commands."""

from __future__ import annotations

import typer

from arc2face_app.cli import (
    dataset,
    doctor,
    download,
    driving,
    embed,
    evaluate,
    expression,
    generate,
    group,
    pose,
    provenance,
    recipe,
    serve,
    somebody,
    training,
)
from arc2face_app.cli.options import Version

__all__ = ["app"]

app = typer.Typer(
    help="New pictures of one person from one photo: Arc2Face with pose, expression and reference control.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 files left out for their licence, 130 interrupted. "
    "--debug shows stack traces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _root(version: Version = False) -> None:
    pass


app.command("app", help=serve.HELP)(serve.run)
app.command("generate", help=generate.HELP)(generate.run)
app.command("pose", help=pose.HELP)(pose.run)
app.command("expression", help=expression.HELP)(expression.run)
app.command("drive", help=driving.HELP)(driving.run)
app.command("group", help=group.HELP)(group.run)
app.add_typer(dataset.app, name="dataset")
app.command("embed", help=embed.HELP)(embed.run)
app.command("draw-person", help=somebody.HELP)(somebody.run)
app.command("recipe", help=recipe.HELP)(recipe.run)
app.command("provenance", help=provenance.HELP)(provenance.run)
app.command("doctor", help=doctor.HELP)(doctor.run)
app.command("download", help=download.HELP)(download.run)
app.command("annotate", help=training.ANNOTATE_HELP)(training.annotate)
app.command("train", help=training.TRAIN_HELP)(training.train)
app.add_typer(evaluate.app, name="evaluate", help=evaluate.HELP)
