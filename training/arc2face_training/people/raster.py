"""Rasterisation and shading: a C library compiled at first use, or numpy where there is no compiler.

Both paths give the same picture up to rounding. Set PEOPLE_RASTER=numpy to force the slow one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.noise import volume

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
_SOURCES = tuple(Path(__file__).with_name(name) for name in ("raster.c", "shade.c", "hair.c"))
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-std=c99")
_log = logging.getLogger(__name__)

N_STATIC, N_MOVING, N_PARAMS = 11, 10, 146


@dataclass(frozen=True)
class Scene:
    """What shading needs.

    `faces` (F, 3), `materials` (F,) int32. `static` (V, 11): reference position 3, linear albedo 3, occlusion, lip,
    gloss, inside of the mouth, cloth. `moving` (V, 10): position 3, normal 3, soft normal 3, share of the key light
    that hair lets through. `params` (146,): see shade.c. `shadow` (n, n): depth along the key light; `frame` (10,).
    """

    faces: Int32
    materials: Int32
    static: Float32
    moving: Float32
    params: Float32
    shadow: Float32
    frame: Float32


def vertex_normals(vertices: Float32, faces: Int32) -> Float32:
    """Area-weighted normals (V, 3) float32 of length 1."""
    library = _library()
    if library is None:
        from arc2face_training.people import raster_numpy

        return raster_numpy.vertex_normals(vertices, faces)
    normals = np.empty_like(vertices)
    library.vertex_normals(_at(vertices), len(vertices), _at(faces), len(faces), _at(normals))
    return normals


def zbuffer(screen: Float32, faces: Int32, size: int) -> tuple[Int32, Float32, Float32]:
    """Nearest face per sample (size * size,), -1 for none, its first two barycentric weights, and its depth."""
    library = _library()
    if library is None:
        from arc2face_training.people import raster_numpy

        return raster_numpy.zbuffer(screen, faces, size)
    ids, bary = np.empty(size * size, np.int32), np.zeros((size * size, 2), np.float32)
    depth = np.empty(size * size, np.float32)
    library.zbuffer(_at(screen), _at(faces), len(faces), size, _at(ids), _at(bary), _at(depth))
    return ids, bary, depth


def strands(
    screen: Float32,
    rgb: Float32,
    alpha: Float32,
    size: int,
    bias: float,
    span: tuple[float, float],
    depth: Float32,
    hair: Float32,
) -> None:
    """Lay strands (n, points, 3) behind what `hair` (size * size, 4) holds: premultiplied light, coverage; changed.

    `rgb` (n, points, 3) linear light, `alpha` (n, points). They are drawn from near to far where they are nearer than
    `depth`; `bias` decimetres in their favour. `span`: their least and greatest depth. Groups of strands must come
    from near to far as well: hair of the head first, brows last.
    """
    library = _library()
    if library is None:
        from arc2face_training.people import raster_numpy

        raster_numpy.strands(screen, rgb, alpha, size, bias, span, depth, hair)
        return
    n, points = screen.shape[:2]
    low, high, near = (ctypes.c_float(value) for value in (*span, bias))
    library.strands(_at(screen), _at(rgb), _at(alpha), n, points, size, near, low, high, _at(depth), _at(hair))


def shade_strands(
    points: Float32, colour: Float32, soft: Float32, key: Float32, occlusion: Float32, light: Float32
) -> Float32 | None:
    """Linear light (n, k, 3) of strands, see hair.c; None without the library."""
    library = _library()
    if library is None:
        return None
    n, k = points.shape[:2]
    arrays = [np.ascontiguousarray(a, np.float32) for a in (points, colour, soft, key, occlusion)]
    out = np.empty((n, k, 3), np.float32)
    library.shade_strands(*(_at(a) for a in arrays), n, k, _at(light), _at(out))
    return out


def shade(scene: Scene, ids: Int32, bary: Float32, hair: Float32, size: int) -> Float32:
    """Linear light (size * size, 3) of the samples that show the mesh; 0 elsewhere, and where `hair` hides it."""
    library = _library()
    if library is None:
        from arc2face_training.people import shade_numpy

        return shade_numpy.shade(scene, ids, bary, hair, size)
    colour = np.zeros((size * size, 3), np.float32)
    library.shade(
        _at(scene.faces), _at(scene.static), _at(scene.moving), _at(scene.materials), size, _at(ids), _at(bary),
        _at(hair), _at(scene.params), _at(volume()), _at(scene.shadow), scene.shadow.shape[0], _at(scene.frame),
        _at(colour),
    )  # fmt: skip
    return colour


@dataclass(frozen=True)
class Layers:
    """What a picture is put together from, for samples of `size` * `size`.

    `colour` (n, 3) and `ids` (n,): the mesh. `hair` (n, 4): premultiplied light of hair, and its coverage.
    `background` (side, side, 3) display values; `shown` (3,): cosine and sine of its turn, and the share that is seen.
    """

    colour: Float32
    ids: Int32
    hair: Float32
    background: Float32
    shown: Float32


def develop(layers: Layers, size: int, gain: Float32) -> tuple[Float32, Float32]:
    """Display values (s * s, 3) in 0..1 and coverage (s * s,), s = size / 2. `gain` (3,): exposure, white balance."""
    library = _library()
    if library is None:
        from arc2face_training.people import raster_numpy

        return raster_numpy.develop(layers, size, gain)
    half, background = size // 2, np.ascontiguousarray(layers.background, np.float32)
    out, cover = np.empty((half * half, 3), np.float32), np.empty(half * half, np.float32)
    library.develop(
        _at(layers.colour), _at(layers.ids), _at(layers.hair), _at(background), len(background),
        _at(layers.shown), size, _at(gain), _at(out), _at(cover),
    )  # fmt: skip
    return out, cover


def _at(array: NDArray[np.generic]) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError("The rasteriser needs C-contiguous arrays.")
    return ctypes.c_void_p(array.ctypes.data)


@functools.cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get("PEOPLE_RASTER") == "numpy":
        return None
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        _log.info("No C compiler; people are rendered with numpy, many times slower.")
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.CalledProcessError) as error:
        _log.warning("The rasteriser could not be compiled (%s); people are rendered with numpy.", error)
        return None


def _compiled(compiler: str) -> Path:
    key = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES))
    key.update(repr((_FLAGS, platform.node(), platform.machine())).encode())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "arc2face" / "people"
    target = root / f"raster-{key.hexdigest()[:16]}.so"
    if not target.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as folder:
            part = Path(folder) / "raster.so"
            command = [compiler, *_FLAGS, "-o", str(part), *map(str, _SOURCES), "-lm"]
            subprocess.run(command, check=True, capture_output=True)
            part.replace(target)
    return target
