"""`arc2face evaluate`: the models on rendered people, sets of photographs and drawn pictures, two runs compared."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arc2face.errors import SettingsError
from arc2face_app.cli import console, training
from arc2face_app.cli.options import AsJson, Device, Dtype, Models
from arc2face_app.cli.output import check_folder
from arc2face_app.cli.session import ModelChoice, open_engine

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.evaluation import FaceSet, Judge, Report
    from arc2face.evaluation.state import Shard

__all__ = ["HELP", "app"]

HELP = "Measure by a written protocol: the models on rendered people, or sets of photos and drawn pictures."
PHOTO_SUITES = ("folder", "lfw", "agedb", "synth500", "dataset")

app = typer.Typer(help=HELP, invoke_without_command=True, no_args_is_help=False, rich_markup_mode="rich")

_SET, _DRAWN, _NETWORKS, _RUN = "The set", "Drawn pictures", "Optional networks", "The run"


def _option(words: str, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=panel, **more)


@app.callback()
def run(
    context: typer.Context,
    suite: training.Suite = "quick",
    models: Models = None,
    output: training.Target = None,
    device: Device = "auto",
    as_json: AsJson = False,
    only: training.Only = None,
) -> None:
    """Without a command: a suite of rendered people (starter, quick, smoke)."""
    if context.invoked_subcommand is not None:
        return
    if suite in PHOTO_SUITES:
        raise SettingsError(f"The suite {suite} measures photos: arc2face evaluate photos FOLDER --suite {suite}")
    training.evaluate(suite, models, output, device, as_json, only)


@app.command("photos", help="Measure a folder of photos, and pictures drawn from them with --draw or --drawn.")
def photos(
    folder: Annotated[Path, typer.Argument(help="The set; docs/evaluation.md shows the layouts.", show_default=False)],
    suite: Annotated[str, _option(f"Its layout: {', '.join(PHOTO_SUITES)}.", _SET)] = "folder",
    list_file: Annotated[
        Path | None, _option("CSV with the columns file and person.", _SET, "--list", show_default=False)
    ] = None,
    groups: Annotated[
        Path | None, _option("CSV with person and a column per kind of group.", _SET, show_default=False)
    ] = None,
    per_person: Annotated[int, _option("At most so many pictures of each; 0 takes all.", _SET, min=0)] = 0,
    people: Annotated[int, _option("At most so many people; 0 takes all.", _SET, min=0)] = 0,
    draw: Annotated[int, _option("Draw so many pictures of each person, 1 to 8; usual is 5.", _DRAWN, min=0)] = 0,
    drawn: Annotated[
        Path | None, _option("Pictures drawn elsewhere: a folder per person of the set.", _DRAWN, show_default=False)
    ] = None,
    steps: Annotated[int | None, _option("Denoising steps; 25, in fast mode 4.", _DRAWN, show_default=False)] = None,
    guidance: Annotated[float | None, _option("Guidance; 3, in fast mode 1.", _DRAWN, show_default=False)] = None,
    fast: Annotated[bool, _option("Draw in fast mode.", _DRAWN, "--fast")] = False,
    judge: Annotated[
        Path | None, _option("An independent recogniser (ArcFace's format, ONNX).", _NETWORKS, show_default=False)
    ] = None,
    judge_order: Annotated[str, _option("Its channel order: rgb, or bgr as AdaFace.", _NETWORKS)] = "rgb",
    inception: Annotated[
        Path | None, _option("inception-2015-12-05.pt, for FID and KID.", _NETWORKS, show_default=False)
    ] = None,
    lpips: Annotated[
        Path | None, _option("alexnet-owt-7be5be79.pth or vgg16-397923af.pth.", _NETWORKS, show_default=False)
    ] = None,
    seed: Annotated[int, _option("Of everything that is drawn by lot.", _RUN)] = 0,
    replicates: Annotated[int, _option("Draws of people per interval.", _RUN, min=0)] = 300,
    no_pose: Annotated[bool, _option("Do not read poses.", _RUN, "--no-pose")] = False,
    no_expression: Annotated[bool, _option("Do not read expressions.", _RUN, "--no-expression")] = False,
    shard: Annotated[
        str | None, _option("Part i of n as i/n, from 0; the last one to end reports.", _RUN, show_default=False)
    ] = None,
    output: training.Target = None,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Reads the set, draws where asked, looks, and writes the report."""
    from arc2face.evaluation import Judge, Protocol
    from arc2face.evaluation.drawing import Drawing
    from arc2face.evaluation.state import Shard

    protocol = Protocol(
        pictures_per_person=per_person, people=people, seed=seed, replicates=replicates,
        pose=not no_pose, expression=not no_expression,
    )  # fmt: skip
    if draw and drawn is not None:
        raise SettingsError("Pictures are either drawn now (--draw) or read from a folder (--drawn), not both.")
    if suite == "dataset" and (draw or drawn is not None):
        raise SettingsError("The pictures of a data set are drawn already; leave --draw and --drawn out.")
    drawing = Drawing(draw, steps, guidance, fast, seed) if draw else None
    part = Shard.parse(shard)
    out = check_folder(output or Path("runs") / "evaluation" / suite)
    faces = _read(suite, folder, list_file)
    if drawn is not None:
        faces = _with_drawn(faces, drawn)
    second = Judge(judge, judge_order) if judge is not None else None
    run = _Run(out, protocol, second, _networks(inception, lpips), groups, part)
    with open_engine(ModelChoice(models, device, dtype, "resident")) as engine:
        report = run.of(engine, faces, drawing)
    _tell(report, as_json)


@app.command("compare", help="The figures of a second report less those of a first, with intervals.")
def compare_runs(
    first: Annotated[Path, typer.Argument(help="Folder of a report.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Folder of another.", show_default=False)],
    replicates: Annotated[int, typer.Option(min=10, max=100_000, help="Draws of people per interval.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compares and says."""
    from arc2face.evaluation.comparison import compare, comparison_text
    from arc2face.evaluation.writing import write_text

    found = compare(first, second, replicates=replicates, seed=seed)
    if output is not None:
        write_text(output, comparison_text(found))
    if as_json:
        console.answer(found)
    else:
        console.say(comparison_text(found).rstrip())


@dataclass(frozen=True, slots=True)
class _Run:
    """What `arc2face.evaluation.evaluate` needs beside the set and the readers."""

    out: Path
    protocol: Any
    judge: Judge | None
    networks: Any
    groups: Path | None
    shard: Shard

    def of(self, engine: Engine, faces: FaceSet, drawing: Any) -> Report:
        from arc2face.evaluation import Report, evaluate
        from arc2face.evaluation.drawing import drawn_set
        from arc2face.evaluation.state import Shard

        part = self.shard
        if drawing is not None:
            faces = faces.limited(self.protocol.pictures_per_person, self.protocol.people, self.protocol.seed)
            with _progress("drawing people") as step:
                joined = drawn_set(faces, engine, drawing, self.out, self.shard, step)
            if joined is None:
                return Report(self.out, {}, 1)
            # whoever ends drawing last looks at everything: the others have gone
            faces, part = joined, Shard()
        with _progress("looking at pictures") as step:
            return evaluate(
                faces, engine.perception, self.protocol, out=self.out, judge=self.judge, networks=self.networks,
                groups=self.groups, shard=part, on_progress=step,
            )  # fmt: skip


def _read(suite: str, folder: Path, list_file: Path | None) -> FaceSet:
    if suite == "dataset":
        from arc2face.dataset.report import read_dataset

        return read_dataset(folder)
    from arc2face.evaluation import read_set

    return read_set(suite, folder, list_file)


def _with_drawn(faces: FaceSet, folder: Path) -> FaceSet:
    from arc2face.evaluation.layouts import read_drawn

    return faces.joined(read_drawn(folder, faces))


def _networks(inception: Path | None, lpips: Path | None) -> Any:
    from arc2face.evaluation.networks import Inception, Lpips
    from arc2face.evaluation.run import Networks

    return Networks(Inception(inception) if inception else None, Lpips(lpips) if lpips else None)


@contextmanager
def _progress(title: str) -> Generator[Callable[[int, int], None]]:
    with console.bars() as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _tell(report: Report, as_json: bool) -> None:
    if as_json:
        console.answer({"folder": str(report.folder), "waiting": report.waiting, "figures": report.figures})
    elif report.waiting:
        console.say("This part is done; other shards are not. Whoever ends last writes the report.")
    else:
        from arc2face.evaluation.markdown import summary

        for line in summary(report.figures):
            console.say(line)
        console.say(str(report.folder / "report.md"))
