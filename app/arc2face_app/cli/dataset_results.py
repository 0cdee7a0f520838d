"""`arc2face dataset report` and `arc2face dataset export`: what comes of a data set that is drawn."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from arc2face_app.cli import console
from arc2face_app.cli import dataset_options as options
from arc2face_app.cli.options import AsJson, Device, Models
from arc2face_app.cli.session import ModelChoice, open_engine

__all__ = ["EXPORT_HELP", "REPORT_HELP", "export", "report"]

REPORT_HELP = "What was asked for and what came of it, as Markdown, JSON and plots."
EXPORTS = {
    "folder": "one folder per person",
    "rec": "RecordIO",
    "lmdb": "LMDB",
    "webdataset": "tar files",
    "parquet": "for the Hub",
    "lora": "pictures with captions",
}
"""What `--to` takes, in a word each; `arc2face.dataset.export.FORMATS` has it all, and importing it takes a while."""
EXPORT_HELP = "The set in another format: " + "; ".join(f"{name}, {words}" for name, words in EXPORTS.items()) + "."


def report(
    folder: options.Folder,
    judge: options.Judge = None,
    against: options.Against = None,
    look: options.LookAtPictures = False,
    output: options.ReportFolder = None,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
) -> None:
    """From the manifests alone, unless every picture is to be looked at."""
    from arc2face.dataset.report import report as write

    with ExitStack() as stack:
        perception = None
        if look or judge is not None:
            choice = ModelChoice(models, device, "auto", "resident")
            perception = stack.enter_context(open_engine(choice)).perception
        shown = stack.enter_context(console.bars())
        task = shown.add_task("looking", total=None)
        found = write(
            folder,
            judge,
            against,
            output,
            perception=perception,
            on_progress=lambda done, total: shown.update(task, completed=done, total=total),
        )
    if as_json:
        console.answer({"folder": str(found.folder), "figures": found.figures})
    else:
        console.say(f"{found.folder / 'report.md'}")


def export(
    folder: options.Folder,
    to: options.To,
    output: options.ExportFolder,
    size: options.ExportSize = None,
    align: options.Align = None,
    format_: options.ExportFormat = None,
    quality: options.Quality = 95,
    min_similarity: options.MinSimilarity = None,
    exclude: options.Exclude = None,
    only: options.Only = None,
    per_person: options.PerPerson = None,
    shuffle: options.Shuffle = False,
    seed: options.ExportSeed = 0,
    shard_mb: options.ShardMegabytes = 500,
    repeats: options.Repeats = 10,
    trigger: options.Trigger = "",
    no_features: options.NoFeatures = False,
    partial: options.Partial = False,
    overwrite: options.Overwrite = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
) -> None:
    """Written beside its place and moved there when it is whole."""
    from arc2face.dataset.export import export as write

    with ExitStack() as stack:

        def faces() -> Any:  # opened where an alignment needs it
            return stack.enter_context(open_engine(ModelChoice(models, device, "auto", "resident"))).faces

        shown = stack.enter_context(console.bars())
        task = shown.add_task("exporting", total=None)
        done = write(
            folder,
            to,
            output,
            size=size,
            align=align,
            picture_format=format_,
            quality=quality,
            min_similarity=min_similarity,
            exclude=exclude or (),
            people=only,
            per_person=per_person,
            shuffle=shuffle,
            seed=seed,
            shard_bytes=shard_mb * 1_000_000,
            repeats=repeats,
            trigger=trigger,
            features=not no_features,
            partial=partial,
            overwrite=overwrite,
            faces=faces,
            progress=lambda made, total: shown.update(task, completed=made, total=total),
        )
    for text in done.warnings:
        console.warn(text)
    if as_json:
        console.answer(asdict(done))
        return
    console.say(f"{done.out}  {done.pictures} pictures of {done.people} people")
    for reason, count in done.left_out.items():
        console.say(f"{count} left out: {reason}")
