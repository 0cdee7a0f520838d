"""Options of `arc2face dataset`, each with its meaning and range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arc2face.settings import PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT

__all__ = [
    "Against",
    "Align",
    "Batch",
    "Column",
    "Devices",
    "Exclude",
    "ExportFolder",
    "ExportFormat",
    "ExportSeed",
    "ExportSize",
    "ExpressionStrength",
    "Expressions",
    "Folder",
    "Format",
    "Judge",
    "KeepBestOfPerson",
    "LookAtPictures",
    "LookOf",
    "LookStrengthOf",
    "MaxCosine",
    "Measure",
    "MinScore",
    "MinSimilarity",
    "NewFolder",
    "NoFeatures",
    "OnRay",
    "Only",
    "Overwrite",
    "Partial",
    "PerPerson",
    "PerShard",
    "Pictures",
    "Pitch",
    "PlanSeed",
    "PoseStrength",
    "Quality",
    "Quick",
    "Repair",
    "Repeats",
    "ReportFolder",
    "Roll",
    "Sample",
    "ScheduleKind",
    "Shard",
    "ShardMegabytes",
    "Shuffle",
    "SkipUnreadable",
    "Threads",
    "To",
    "Tries",
    "Trigger",
    "Who",
    "WorkerGpus",
    "Workers",
    "Yaw",
]

_WHO, _WHAT, _DRAW, _HOW, _WHERE = "Who", "What", "How it is drawn", "Shards", "Where it runs"


def _angle(limit: float) -> str:
    return f"Degrees within {limit:g}: -40:40 draws from a range, -40:40:5 takes five, -30,0,30 takes these."


Folder = Annotated[Path, typer.Argument(help="The data set's folder.", show_default=False, metavar="FOLDER")]
Who = Annotated[
    list[Path],
    typer.Argument(
        help="A folder with one folder of photos per person, a table of photos (.csv, .parquet), a file of embeddings "
        "(.npz, .npy), or saved identities.",
        show_default=False,
        metavar="WHO...",
    ),
]
NewFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the data set; new or empty.", show_default=False)
]
Sample = Annotated[
    int | None,
    typer.Option(
        help="So many people who do not exist, drawn from what those given have in common, instead of them.",
        rich_help_panel=_WHO,
        show_default=False,
    ),
]
MaxCosine = Annotated[
    float,
    typer.Option(help="Largest cosine of a drawn person to any other one and to those given.", rich_help_panel=_WHO),
]
SkipUnreadable = Annotated[
    bool,
    typer.Option("--skip-unreadable", help="Go on without people who cannot be read.", rich_help_panel=_WHO),
]
Column = Annotated[
    str | None,
    typer.Option(help="Column of the table that names the person.", rich_help_panel=_WHO, show_default=False),
]
Pictures = Annotated[int, typer.Option("--pictures", "-n", help="Pictures per person.", rich_help_panel=_WHAT)]
Yaw = Annotated[str | None, typer.Option(help=_angle(YAW_LIMIT), rich_help_panel=_WHAT, show_default=False)]
Pitch = Annotated[str | None, typer.Option(help=_angle(PITCH_LIMIT), rich_help_panel=_WHAT, show_default=False)]
Roll = Annotated[str | None, typer.Option(help=_angle(ROLL_LIMIT), rich_help_panel=_WHAT, show_default=False)]
Expressions = Annotated[
    list[str] | None,
    typer.Option(
        "--expression",
        "-e",
        help="A preset by name, all of them (all), or a catalogue (.json); may be given several times.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
ScheduleKind = Annotated[
    str,
    typer.Option(
        "--schedule",
        help="grid: all poses in order, then all expressions; balanced: each person meets every combination equally "
        "often; random.",
        rich_help_panel=_WHAT,
    ),
]
PoseStrength = Annotated[float, typer.Option(help="How firmly a pose acts, 0 to 2.", rich_help_panel=_WHAT)]
ExpressionStrength = Annotated[
    float, typer.Option(help="How firmly an expression acts, 0 to 2.", rich_help_panel=_WHAT)
]
LookOf = Annotated[
    list[Path] | None,
    typer.Option(
        "--look",
        help="Photo whose look and background are kept; of several, each picture gets one.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
LookStrengthOf = Annotated[float, typer.Option("--look-strength", help="How much, 0 to 1.", rich_help_panel=_WHAT)]
MinScore = Annotated[
    float | None,
    typer.Option(
        help="Lowest similarity to the person; a picture below is drawn again with its next seed.",
        rich_help_panel=_DRAW,
        show_default=False,
    ),
]
Tries = Annotated[
    int | None,
    typer.Option(
        help="How often a picture may be drawn with --min-score (4); one that never reaches it is left out.",
        rich_help_panel=_DRAW,
        show_default=False,
    ),
]
KeepBestOfPerson = Annotated[
    int,
    typer.Option("--keep-best", help="Keep each person's k most similar pictures; 0 keeps all.", rich_help_panel=_DRAW),
]
Format = Annotated[str, typer.Option("--format", help="Picture files: png or jpg.", rich_help_panel=_DRAW)]
Quality = Annotated[int, typer.Option(help="Quality of jpg files, 1 to 100.", rich_help_panel=_DRAW)]
PlanSeed = Annotated[int, typer.Option("--seed", help="Seed of the plan.", rich_help_panel=_DRAW)]
PerShard = Annotated[
    int | None,
    typer.Option(
        help="People per shard, which is what a stopped worker draws again; at most 64 pictures' worth when omitted.",
        rich_help_panel=_HOW,
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(help="Pictures on the device at once, 1 to 8.", rich_help_panel=_HOW)]
Threads = Annotated[
    int, typer.Option(help="Threads of each process on a CPU; part of the plan, as they round.", rich_help_panel=_HOW)
]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="Draw a few pictures, and say how long all will take.", rich_help_panel=_HOW),
]
Shard = Annotated[
    str | None,
    typer.Option(
        help="Which part of the shards: 2/8 is the third of eight; auto reads SLURM, Kubernetes or RANK variables.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        help="One process each: cuda:0,cuda:1 or cpu,cpu (0,1 means the CUDA devices).",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
OnRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="A Ray cluster: local, auto, or its address. Folder and models lie on a disk that all nodes see.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Workers on the Ray cluster; as many as fit when omitted.", rich_help_panel=_WHERE, show_default=False
    ),
]
WorkerGpus = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        help="GPUs of each Ray worker; 0.5 puts two on one.",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Repair = Annotated[
    bool, typer.Option("--repair", help="Remove shards that are not right; the next run draws them again.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Compare the hashes of the tars; decode no picture.")]
Judge = Annotated[
    Path | None,
    typer.Option(help="An independent recogniser (.onnx) that scores everything once more.", show_default=False),
]
RunJudge = Annotated[
    Path | None,
    typer.Option(
        "--judge", help="An independent recogniser (.onnx) that compares a person's pictures.", show_default=False
    ),
]
JudgeOrder = Annotated[str, typer.Option(help="Its channel order: rgb, or bgr as AdaFace.")]
Against = Annotated[
    Path | None,
    typer.Option(help="Embeddings of real people (.npz) to look for copies in.", show_default=False),
]
LookAtPictures = Annotated[
    bool, typer.Option("--look", help="Look at every picture: faces, poses and expressions that came out, copies.")
]
ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder for the report; report/ in the data set when omitted.", show_default=False
    ),
]
To = Annotated[
    str, typer.Option("--to", help="The format: folder, rec, lmdb, webdataset, parquet or lora.", show_default=False)
]
ExportFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the export; new or empty.", show_default=False)
]
_LOOK, _WHICH, _FORMATS = "Pictures", "Which pictures", "Single formats"
ExportSize = Annotated[
    int | None,
    typer.Option(
        "--size",
        help="Side in pixels; as drawn when omitted, 112 for ArcFace crops.",
        rich_help_panel=_LOOK,
        show_default=False,
    ),
]
Align = Annotated[
    str | None,
    typer.Option(
        help="none, arcface (the recogniser's crop) or ffhq; the format's usual one when omitted.",
        rich_help_panel=_LOOK,
        show_default=False,
    ),
]
ExportFormat = Annotated[
    str | None, typer.Option("--format", help="Picture files: png or jpg.", rich_help_panel=_LOOK, show_default=False)
]
MinSimilarity = Annotated[
    float | None,
    typer.Option(help="Leave out pictures less similar to their person.", rich_help_panel=_WHICH, show_default=False),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="Key of a picture (0000012_0003) or name of a person to leave out; may be given several times.",
        rich_help_panel=_WHICH,
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", help="Name of a person; only those named go out.", rich_help_panel=_WHICH, show_default=False
    ),
]
PerPerson = Annotated[
    int | None,
    typer.Option(
        help="At most so many pictures of each, spread over poses and expressions.",
        rich_help_panel=_WHICH,
        show_default=False,
    ),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Export what there is of an unfinished set.", rich_help_panel=_WHICH)
]
Shuffle = Annotated[bool, typer.Option("--shuffle", help="Pictures in a random order.", rich_help_panel=_WHICH)]
ExportSeed = Annotated[int, typer.Option("--seed", help="Seed of that order.", rich_help_panel=_WHICH)]
ShardMegabytes = Annotated[
    int, typer.Option(help="webdataset, parquet: size of a file in MB.", rich_help_panel=_FORMATS)
]
Repeats = Annotated[int, typer.Option(help="lora: repeats per epoch.", rich_help_panel=_FORMATS)]
Trigger = Annotated[str, typer.Option(help="lora: a word in front of each caption.", rich_help_panel=_FORMATS)]
NoFeatures = Annotated[
    bool, typer.Option("--no-features", help="lmdb: without the embeddings.", rich_help_panel=_FORMATS)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export there.")]
