"""Figures of a data set from its manifests and identities alone; no picture is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.dataset import manifest
from arc2face.dataset.drawing import LEFT_OUT
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.errors import InputError
from arc2face.evaluation import control
from arc2face.evaluation.bootstrap import mean_figure
from arc2face.evaluation.figure import Figure, Figures, absent, measured
from arc2face.evaluation.likeness import leakage
from arc2face.evaluation.pairs import nearest, unit, within
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.scores import Scores
from arc2face.types import EXPRESSION_SIZE

__all__ = ["NOTHING", "Rows", "about", "asked", "likeness", "progress", "read_rows", "separation"]

NO_SECOND = "no independent recogniser looked (arc2face dataset run --judge, or report --judge)"
NO_AGAINST = "no file with real people was named (--against)"
NOTHING = "no shard is finished yet; run: arc2face dataset run"


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The manifests' columns as arrays, one entry per row; NaN and None where there is nothing."""

    number: NDArray[np.int64]
    similarity: NDArray[np.float64]
    second: NDArray[np.float64]
    score: NDArray[np.float64]
    tries: NDArray[np.int64]
    pose: NDArray[np.float64]
    expression: NDArray[np.float64]
    there: NDArray[np.bool_]
    shard: NDArray[np.int64]
    names: dict[str, list[str | None]]


def read_rows(home: DatasetFolder) -> Rows:
    """All manifests, column by column."""
    parts = list(_shards(home))
    if not parts:
        raise InputError(f"{home.root}: {NOTHING}")
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "names"}
    words = ("pose_name", "expression_name", "error", "pixels_sha256", "key", "file", "identity")
    names = {word: [value for part in parts for value in part["names"][word]] for word in words}
    return Rows(names=names, **arrays)


def _shards(home: DatasetFolder) -> Iterator[dict[str, Any]]:
    for shard in home.committed():
        table: dict[str, list[Any]] = manifest.read_table(home.manifest(shard)).to_pydict()
        if not table["key"]:
            continue
        nothing = [np.nan] * EXPRESSION_SIZE
        yield {
            "number": np.array(table["identity_number"], np.int64),
            "similarity": _numbers(table["similarity"]),
            "second": _numbers(table["second_similarity"]),
            "score": _numbers(table["detector_score"]),
            "tries": np.array(table["tries"], np.int64),
            "pose": np.stack([_numbers(table[name]) for name in control.ANGLES], 1),
            "expression": np.array([nothing if row is None else row for row in table["expression"]], np.float64),
            "there": np.array([name is not None for name in table["file"]], bool),
            "shard": np.array(table["shard"], np.int64),
            "names": table,
        }


def about(home: DatasetFolder, people: Identities) -> Figures:
    """Which set this is, with its plan."""
    plan = home.plan_json()
    if plan.get("negative") is not None:
        plan["negative"] = "a person (their embedding is in plan.json alone)"
    return {"set": home.root.resolve().name, "people_planned": len(people), "plan": plan}


def progress(home: DatasetFolder, rows: Rows) -> Figures:
    """How far it is, what failed and why, how often pictures were drawn."""
    count = len(rows.number)
    made = int(rows.there.sum())
    left_out = sum((text or "").startswith(LEFT_OUT) for text in rows.names["error"])
    prints = Counter(print_ for print_ in rows.names["pixels_sha256"] if print_)
    doubled = sum(number for number in prints.values() if number > 1)
    return {
        "shards": len(home.committed()),
        "rows": count,
        "pictures": made,
        "people": len(np.unique(rows.number)),
        "failed": measured((count - made - left_out) / count, rows=count - made - left_out),
        "left_out_for_better_ones": measured(left_out / count, rows=left_out),
        "without_a_face": _without_a_face(rows),
        "identical_pixels": measured(doubled / max(made, 1), pictures=doubled),
        "tries": measured(
            float(rows.tries.mean()), most=int(rows.tries.max()), drawn_again=int((rows.tries > 1).sum())
        ),
        "reasons": dict(Counter(str(text) for text in rows.names["error"] if text).most_common(20)),
    }


def _without_a_face(rows: Rows) -> Figure:
    made = rows.there
    if not made.any() or not np.isfinite(rows.similarity[made]).any():
        return absent("no picture was looked at when it was drawn")
    lost = int((made & ~np.isfinite(rows.similarity)).sum())
    return measured(lost / int(made.sum()), pictures=lost)


def likeness(rows: Rows, protocol: Protocol) -> Figures:
    """Cosine of the pictures to the embeddings that were asked for, as `run` measured it.

    `one_person_independent`: to the person's other pictures, by a second recogniser. Of the pictures that were kept;
    `all_rows` has those that were refused for their score, too.
    """
    figures: Figures = {}
    for name, values, reason in (
        ("asked_and_got", np.where(rows.there, rows.similarity, np.nan), "score"),
        ("asked_and_got_all_rows", rows.similarity, "score"),
        ("one_person_independent", np.where(rows.there, rows.second, np.nan), NO_SECOND),
        ("detector_score", np.where(rows.there, rows.score, np.nan), "score"),
    ):
        figures[name] = mean_figure(values, rows.number, protocol.replicates, protocol.seed, reason)
        if reason == NO_SECOND and figures[name]["value"] is None:
            figures[name] = absent(NO_SECOND)
        known = values[np.isfinite(values)]
        if len(known):
            quantiles = np.quantile(known, [0.0, 0.05, 0.5])
            figures[name] |= dict(zip(("least", "p5", "median"), map(float, quantiles), strict=True))
    return figures


def separation(people: Identities, sources: Identities | None) -> Figures:
    """How far the asked people are from one another, and from real ones."""
    vectors = unit(people.vectors)
    numbers = np.arange(len(vectors), dtype=np.int64)
    pairs = within(vectors, numbers).nonmated
    closest = nearest(vectors, vectors, numbers, numbers)[0]
    known = closest[np.isfinite(closest)].astype(np.float64)
    alone = absent("there is one person only")
    figures: Figures = {
        "all_pairs": measured(pairs.mean, deviation=pairs.deviation, pairs=pairs.total) if pairs.total else alone,
        "all_pairs_histogram": pairs.coarse(),
        "nearest": measured(float(known.mean()), p95=float(np.quantile(known, 0.95)), most=float(known.max()))
        if len(known)
        else alone,
        "nearest_histogram": Scores.of(known).coarse(),
    }
    if sources is None:
        return figures | {"real_people": absent(NO_AGAINST)}
    if sources.recogniser_sha256 and people.recogniser_sha256 and (
        sources.recogniser_sha256 != people.recogniser_sha256
    ):  # fmt: skip
        return figures | {"real_people": absent("those embeddings are of another recogniser")}
    strangers = np.full(len(vectors), -1, np.int64)
    found = leakage(vectors, strangers, unit(sources.vectors), np.arange(len(sources), dtype=np.int64), None)
    return figures | {"real_people": found["nearest"]}


def asked(rows: Rows) -> Figures:
    """Poses and expressions that the plan asked for."""
    return {
        "pose": control.pose_coverage(rows.pose, ""),
        "expression": control.expression_coverage(rows.expression, ""),
        "pose_names": _counts(rows.names["pose_name"]),
        "expression_names": _counts(rows.names["expression_name"]),
    }


def _counts(names: list[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(name for name in names if name is not None).items()))


def _numbers(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)
