"""EMOCA and FLAME for inference: from a face photo to the head's pose, expression and normal map.

`load(assets_dir) -> Emoca`, `preprocess(image, landmarks) -> Crop`, `Emoca.encode(crops) -> Codes`,
`Emoca.decode(shape, exp, pose, cam, tform, size) -> Decoded`, `rasterize(verts, faces, size) -> Fragments`,
`FlameGeometry.from_pickle(path)`. Needs torch, numpy and safetensors only. See the README in this folder for licences.
"""

from __future__ import annotations

from arc2face_emoca.cache import default_cache_dir
from arc2face_emoca.camera import project
from arc2face_emoca.checkpoint import Checkpoint, checkpoint_entries, read_checkpoint
from arc2face_emoca.crop import CROP_SIZE, Crop, crop_box, preprocess, warp_crop
from arc2face_emoca.errors import (
    AssetError,
    CorruptAssetError,
    EmocaError,
    IncompatibleAssetError,
    MissingAssetError,
    UsageError,
)
from arc2face_emoca.files import AssetFiles, missing_message, read_template_faces
from arc2face_emoca.flame import FlameGeometry, FlameLayer, rotation_matrices
from arc2face_emoca.loading import load, load_geometry
from arc2face_emoca.model import Codes, Decoded, Emoca
from arc2face_emoca.normals import normal_picture, vertex_normals
from arc2face_emoca.pickles import read_plain_pickle
from arc2face_emoca.raster import Fragments, interpolate, rasterize
from arc2face_emoca.resnet import Encoder, EncoderConfig

__all__ = [
    "CROP_SIZE",
    "AssetError",
    "AssetFiles",
    "Checkpoint",
    "Codes",
    "CorruptAssetError",
    "Crop",
    "Decoded",
    "Emoca",
    "EmocaError",
    "Encoder",
    "EncoderConfig",
    "FlameGeometry",
    "FlameLayer",
    "Fragments",
    "IncompatibleAssetError",
    "MissingAssetError",
    "UsageError",
    "checkpoint_entries",
    "crop_box",
    "default_cache_dir",
    "interpolate",
    "load",
    "load_geometry",
    "missing_message",
    "normal_picture",
    "preprocess",
    "project",
    "rasterize",
    "read_checkpoint",
    "read_plain_pickle",
    "read_template_faces",
    "rotation_matrices",
    "vertex_normals",
    "warp_crop",
]
