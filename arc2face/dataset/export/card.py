"""The data set card: `README.md` with the YAML header that the Hub reads, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arc2face.dataset.export.job import Job
from arc2face.dataset.people import SAMPLED
from arc2face.pictures.recipes import app_version
from arc2face.weights.writing import replace_with

__all__ = ["write_card"]

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LOAD = {
    "parquet": (
        'from datasets import load_dataset\n\ndata = load_dataset("parquet", data_files="data/train-*.parquet", '
        'split="train")\nprint(data[0]["image"].size, data[0]["identity"])'
    ),
    "webdataset": (
        'import webdataset\n\ndata = webdataset.WebDataset("train-{000000..LAST}.tar", shardshuffle=False)'
        '.decode("pil")\nfor sample in data:\n    print(sample["__key__"], sample["cls"], sample["json"]["identity"])\n'
        "    break"
    ),
}


def write_card(job: Job, kind: str) -> None:
    """Write the card of an export whose pictures are all written. `kind`: parquet or webdataset."""
    text = "---\n" + _header(job, kind) + "---\n\n" + _body(job, kind)
    with replace_with(job.folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _header(job: Job, kind: str) -> str:
    many = sum(job.counts.values())
    size = next((name for most, name in SIZES if many < most), "1M<n<10M")
    lines = [
        "license: other",
        "license_name: to-be-chosen",
        "pretty_name: Synthetic faces",
        f"size_categories:\n- {size}",
        "task_categories:\n- image-classification\n- image-feature-extraction",
        "tags:\n- synthetic\n- faces\n- face-recognition\n- arc2face",
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: "
        + ("data/train-*.parquet" if kind == "parquet" else "train-*.tar"),
    ]
    if kind == "parquet":
        lines.append(_dataset_info(job, many))
    return "\n".join(lines) + "\n"


def _dataset_info(job: Job, many: int) -> str:
    from arc2face.dataset.export.parquet import FEATURES

    lines = ["dataset_info:", "  features:"]
    for name, kind in FEATURES.items():
        lines.append(f"  - name: {name}")
        lines.append("    sequence: float32" if kind == "expression" else f"    dtype: {kind}")
    size = sum(path.stat().st_size for path in (job.folder / "data").iterdir())
    lines += ["  splits:", "  - name: train", f"    num_bytes: {job.written}", f"    num_examples: {many}"]
    lines += [f"  download_size: {size}", f"  dataset_size: {job.written}"]
    return "\n".join(lines)


def _body(job: Job, kind: str) -> str:
    people = len(job.counts)
    parts = [
        "# Synthetic faces",
        f"{sum(job.counts.values()):,} pictures of {people:,} {'person' if people == 1 else 'people'}, drawn by "
        f"Arc2Face Studio {app_version()}. **No picture is a photograph.** {_who(job)}",
        "> **Licence: not chosen yet.** Whoever publishes this set chooses one, writes it here and into the header "
        "(`license`), and checks that it agrees with the licences of the models below. Networks of the InsightFace "
        "model zoo, for example, are for non-commercial research only.",
        "## How it was made",
        _made(job),
        "## Figures",
        _figures(job),
        "## What is in it",
        _contents(job, kind),
        f"```python\n{LOAD[kind].replace('LAST', _last(job))}\n```",
        "## Limits",
        "The pictures carry the limits and the bias of the models that drew them: one person each, seen from the front "
        "half, with the looks that were frequent in the training photos. Similarities were measured by the recogniser "
        "that the models were trained with; it flatters them. Do not use the set to identify people.",
    ]
    return "\n\n".join(parts) + "\n"


def _who(job: Job) -> str:
    sources = [job.identities.sources[number] for number in job.selection.numbers]
    invented = sum(source.startswith(SAMPLED) for source in sources)
    given = len(sources) - invented
    if not given:
        ways = sorted({source.partition(":")[2].strip() for source in sources} - {""})
        how = f" ({'; '.join(ways[:5])})" if ways else ""
        return f"The people do not exist: their identities were sampled{how}."
    words = f"{given:,} of the identities were given (photos or embeddings), so they may be those of real people"
    more = f"; the other {invented:,} were sampled and do not exist" if invented else ""
    return f"**{words}{more}.** Publish them only with the consent of those people."


def _made(job: Job) -> str:
    drawing: Mapping[str, Any] = job.plan.get("drawing") or {}
    unused = ("scheduler",) if drawing.get("fast") else ()  # fast mode has a sampler of its own
    used = {name: value for name, value in sorted(drawing.items()) if value is not None and name not in unused}
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in used.items())
    lines = [f"- Plan: `{job.selection.plan}` (SHA-256), seed {job.plan.get('seed')}", f"- Settings: {settings}"]
    if job.plan.get("min_score") is not None:
        tries = job.plan.get("max_tries")
        lines.append(f"- Pictures below a similarity of {job.plan['min_score']} were drawn again, up to {tries} times")
    if job.plan.get("references"):
        lines.append("- The look of photos was kept in the pictures; whoever is in those photos has rights in them")
    if job.plan.get("negative"):
        lines.append("- The pictures were led away from one given person")
    lines += [f"- Model `{name}`: SHA-256 `{digest}`" for name, digest in sorted(job.figures.models.items())]
    return "\n".join(lines)


def _figures(job: Job) -> str:
    figures, counts = job.figures, sorted(job.counts.values())
    lines = [
        f"- Pictures per person: {counts[0]} to {counts[-1]}" if counts else "- No picture",
        f"- Cosine to the asked identity: {figures.similarity.sentence}",
        f"- The same by an independent recogniser: {figures.second.sentence}",
        f"- Pictures drawn for those: {figures.tries:,}",
    ]
    for axis, (low, high) in figures.angles.items():
        if low == high == 0.0:
            continue
        lines.append(f"- {axis.capitalize()} asked for: {low:.0f} to {high:.0f} degrees")
    if figures.expressions:
        names = ", ".join(f"{name} ({count:,})" for name, count in sorted(figures.expressions.items())[:40])
        lines.append(f"- Expressions asked for: {names}")
    for reason, count in sorted(job.selection.left_out.items()):
        lines.append(f"- Left out: {count:,} {reason}")
    if job.lost:
        lines.append(f"- Left out: {len(job.lost):,} in which the alignment found no face")
    return "\n".join(lines)


def _contents(job: Job, kind: str) -> str:
    options = job.options
    side = f"{options.size} x {options.size} pixels" if options.size else "the size they were drawn at"
    where = "column `image`" if kind == "parquet" else f"`KEY.{job.suffix}`"
    return (
        f"Pictures ({where}) are {options.picture_format.upper()} at {side}, alignment: {options.align}. `label` "
        "counts people from 0, `identity` names them, `seed` is the picture's. `yaw`, `pitch`, `roll` (degrees) and "
        "`expression` (55 FLAME numbers) are what was asked for; `similarity` is the cosine of the picture's embedding "
        "to the asked one, `detector_score` the face detector's confidence."
    )


def _last(job: Job) -> str:
    files = sorted(job.folder.glob("train-*.tar"))
    return files[-1].stem.removeprefix("train-") if files else "000000"
