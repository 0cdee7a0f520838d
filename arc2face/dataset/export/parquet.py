"""Parquet for the Hub: `data/train-00000-of-00003.parquet` with a picture and its facts per row, and a card.

The column `image` is a struct of `bytes` and `path`, which `datasets` decodes as a picture; the schema's metadata says
so. Row groups are small, so that the Hub's viewer and streaming readers need not fetch a whole file for one row.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arc2face.dataset import manifest
from arc2face.dataset.export.card import write_card
from arc2face.dataset.export.job import Job, Picture
from arc2face.dataset.export.tars import facts_of
from arc2face.dataset.packages import need

__all__ = ["FEATURES", "features", "write"]

GROUP_BYTES = 16 << 20
GROUP_ROWS = 1000
_CARRIED = [name for name in manifest.COLUMNS if name in facts_of(dict.fromkeys(manifest.COLUMNS))]
FEATURES: dict[str, str] = {
    "image": "image",
    "label": "int64",
    **{name: manifest.COLUMNS[name][0] for name in _CARRIED},
}
"""Column -> type, as the card and the schema name it; `expression` is a list of float32."""


def write(job: Job, pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write files that are filled up to `shard_bytes`, and the card."""
    need("pyarrow")
    data = job.folder / "data"
    data.mkdir()
    files = _Files(data, job.options.shard_bytes)
    try:
        for picture in pictures:
            image = {"bytes": picture.data, "path": f"{picture.key}.{job.suffix}"}
            files.add({"image": image, "label": picture.label, **facts_of(picture.row)}, len(picture.data))
        files.close()
    except BaseException:
        files.abandon()
        raise
    for number, path in enumerate(files.paths):
        path.rename(data / f"train-{number:05d}-of-{len(files.paths):05d}.parquet")
    write_card(job, "parquet")
    return {"files": len(files.paths)}


def features() -> dict[str, Any]:
    """The columns in the words of the `datasets` library."""
    expression = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    words: dict[str, Any] = {"image": {"_type": "Image"}, "expression": expression}
    return {name: words.get(kind, {"dtype": kind, "_type": "Value"}) for name, kind in FEATURES.items()}


def _schema() -> Any:
    pa = need("pyarrow")
    image = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    rows = manifest.schema()
    known = {"image": pa.field("image", image), "label": pa.field("label", pa.int64())}
    fields = [known.get(name) or rows.field(name) for name in FEATURES]
    info = json.dumps({"info": {"features": features()}})
    return pa.schema(fields, metadata={"huggingface": info})


class _Files:
    """Rows into row groups, row groups into files."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._schema = _schema()
        self._writer: Any = None
        self._rows: list[dict[str, Any]] = []
        self._waiting = self._filled = 0
        self.paths: list[Path] = []

    def add(self, row: dict[str, Any], size: int) -> None:
        """One more row; `size`: bytes of its picture."""
        if self._filled and self._filled + self._waiting + size > self._most:
            self._end_file()
        self._rows.append(row)
        self._waiting += size
        if self._waiting >= min(GROUP_BYTES, self._most) or len(self._rows) >= GROUP_ROWS:
            self._end_group()

    def close(self) -> None:
        """Write what waits and end the last file."""
        self._end_file()

    def abandon(self) -> None:
        """Let go of the file that is open, which stays cut off."""
        with contextlib.suppress(Exception):  # Arrow would write its end, where writing failed just now
            if self._writer is not None:
                self._writer.close()

    def _end_group(self) -> None:
        pa, parquet = need("pyarrow"), need("pyarrow.parquet")
        if not self._rows:
            return
        if self._writer is None:
            self.paths.append(self._folder / f"train-{len(self.paths):05d}.parquet")
            # pictures are compressed already
            packed = {name: "none" if name == "image" else "zstd" for name in FEATURES}
            self._writer = parquet.ParquetWriter(
                self.paths[-1], self._schema, compression=_by_path(packed), write_page_index=True
            )
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._filled += self._waiting
        self._rows, self._waiting = [], 0

    def _end_file(self) -> None:
        self._end_group()
        if self._writer is not None:
            self._writer.close()
        self._writer, self._filled = None, 0


def _by_path(packed: dict[str, str]) -> dict[str, str]:
    """Compression by the path of each leaf column."""
    leaves = {"image": ("image.bytes", "image.path"), "expression": ("expression.list.element",)}
    return {leaf: kind for name, kind in packed.items() for leaf in leaves.get(name, (name,))}
