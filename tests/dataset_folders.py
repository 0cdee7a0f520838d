"""Small data sets without a model: real plans, identities, tars and manifests around painted pictures."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.dataset import manifest
from arc2face.dataset.folder import DatasetFolder, picture_key
from arc2face.dataset.identities import Identities
from arc2face.dataset.manifest import Facts, Row
from arc2face.dataset.plan import DatasetPlan
from arc2face.types import RgbU8

Paint = Callable[[int, int], RgbU8]
YAWS = (-40.0, 0.0, 12.0, 30.0)


def painted(person: int, picture: int, side: int = 32) -> RgbU8:
    """A picture that says whose it is: red is the person, green the picture, blue a ramp."""
    rgb = np.zeros((side, side, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = 10 * person, 20 * picture
    rgb[..., 2] = np.arange(side, dtype=np.uint8)
    return rgb


def pixels(data: bytes) -> NDArray[np.uint8]:
    """A picture file decoded."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def who(data: bytes) -> tuple[int, int]:
    """(person, picture) that a painted picture says it is."""
    red, green, _ = pixels(data)[8, 8].astype(int)
    return round(red / 10), round(green / 20)


def write_dataset(
    root: Path,
    pictures: Sequence[int] = (3, 2, 4),
    paint: Paint = painted,
    per_shard: int = 2,
    similarity: Callable[[int, int], float | None] = lambda person, picture: 0.9 - 0.1 * picture,
    failed: Sequence[tuple[int, int]] = (),
    keys: Sequence[str] | None = None,
    source: str = "sampled: components of 9 people",
) -> DatasetFolder:
    """`pictures`: how many of each person; the plan asks for the most of them, the others are rows with a reason.

    `failed`: (person, picture) that are rows with a reason, too.
    """
    names = list(keys or [f"person-{k}" for k in range(len(pictures))])
    vectors = np.random.default_rng(3).standard_normal((len(names), 512)).astype(np.float32)
    people = Identities(tuple(names), vectors, tuple([source] * len(names)))
    plan = DatasetPlan(
        people=len(names), identities_sha256=people.sha256, pictures=max(pictures), per_shard=per_shard, seed=5
    )
    folder = DatasetFolder(root)
    folder.shards.mkdir(parents=True)
    people.save(root / "identities.npz")
    (root / "plan.json").write_text(plan.to_json())
    for shard in range(plan.shards):
        rows: list[Row] = []
        with tarfile.open(folder.tar(shard), "w") as tar:
            for person in plan.people_of(shard):
                for picture in range(plan.pictures):
                    drawn = picture < pictures[person] and (person, picture) not in failed
                    data = _png(paint(person, picture)) if drawn else b""
                    row = _row(plan, names[person], person, picture, shard, data, similarity(person, picture))
                    if drawn:
                        for suffix, content in (("png", data), ("cls", str(person).encode()), ("json", b"{}")):
                            _add(tar, f"{row.key}.{suffix}", content)
                    rows.append(row)
        drawn = sum(row.file is not None for row in rows)
        tar_bytes = folder.tar(shard).read_bytes()
        facts = Facts(
            plan=plan.sha256,
            shard=shard,
            rows=len(rows),
            pictures=drawn,
            left_out=0,
            failed=len(rows) - drawn,
            tar_bytes=len(tar_bytes),
            tar_sha256=hashlib.sha256(tar_bytes).hexdigest(),
        )
        manifest.write(folder.manifest(shard), rows, facts)
    return folder


def _row(
    plan: DatasetPlan, key: str, person: int, picture: int, shard: int, data: bytes, similarity: float | None
) -> Row:
    about: dict[str, Any] = {"file": None, "error": "no face in 3 tries"}
    if data:
        side = Image.open(io.BytesIO(data)).width
        digest = hashlib.sha256(np.asarray(Image.open(io.BytesIO(data))).tobytes()).hexdigest()
        about = {
            "file": f"{picture_key(person, picture)}.png",
            "bytes": len(data),
            "width": side,
            "height": side,
            "pixels_sha256": digest,
            "similarity": similarity,
            "detector_score": None if similarity is None else 0.8,
        }
    return Row(
        key=picture_key(person, picture),
        identity=key,
        identity_number=person,
        picture=picture,
        seed=1000 * person + picture,
        tries=1 + picture % 2,
        yaw=YAWS[picture % 4],
        pitch=-12.0 if picture % 2 else 0.0,
        roll=0.0,
        expression_name=("Neutral", "Mouth open")[picture % 2],
        expression=[0.5 * picture] * 55,
        plan=plan.sha256,
        settings=json.dumps({"steps": 4}),
        models=json.dumps({"unet.safetensors": "ab" * 32}),
        shard=shard,
        **about,
    )


def _png(rgb: RgbU8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
