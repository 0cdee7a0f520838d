"""Saved pictures that say how they were made, and that they are synthetic.

A PNG of ours carries a JSON recipe in the text chunk `arc2face`, and an XMP packet with the IPTC digital source type
"trained algorithmic media" (https://cv.iptc.org/newscodes/digitalsourcetype/). The recipe never holds the identity
embedding itself, only its hash, unless the caller asks for it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile, PngInfo

from arc2face.errors import ImageError, SettingsError
from arc2face.types import (
    Expression,
    ExpressionCondition,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    IdentityEmbedding,
)
from arc2face.weights.store import replace_with

CHUNK = "arc2face"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>'
)
_PLAIN = ("num_images", "seed", "steps", "guidance_scale", "fast", "scheduler", "height", "width")


def app_version() -> str:
    """Version of the installed package, or "dev" in a bare checkout."""
    try:
        return metadata.version("arc2face-studio")
    except metadata.PackageNotFoundError:
        return "dev"


def describe(request: GenerationRequest, models: Mapping[str, str], bundle: str) -> dict[str, Any]:
    """The JSON-ready recipe of a request.

    `models`: part name -> sha256 of its file. `bundle`: full, starter or tiny.
    """
    recipe: dict[str, Any] = {"app": "Arc2Face Studio", "version": app_version(), "bundle": bundle}
    recipe |= {"settings": {name: getattr(request, name) for name in _PLAIN}, "models": dict(models)}
    vector = request.identity.vector
    recipe["identity"] = {
        "embedding_sha256": hashlib.sha256(vector.tobytes()).hexdigest(),
        "recogniser_sha256": request.identity.recogniser_sha256,
        "photos": request.identity.photos,
    }
    if (pose := request.pose) is not None:
        digest = hashlib.sha256(pose.normal_map.tobytes()).hexdigest()
        recipe["pose"] = {"strength": pose.strength, "start": pose.start, "end": pose.end, "normal_map_sha256": digest}
    if (expression := request.expression) is not None:
        values = [round(float(value), 5) for value in expression.expression.values]
        recipe["expression"] = {"strength": expression.strength, "values": values}
    if (reference := request.reference) is not None:
        digest = hashlib.sha256(reference.image.tobytes()).hexdigest()
        recipe["reference"] = {"strength": reference.strength, "image_sha256": digest}
    return recipe


def image_recipe(image: GeneratedImage, result: GenerationResult, embedding: bool = False) -> dict[str, Any]:
    """The result's recipe with this picture's own seed and score, as the settings that make it again alone."""
    recipe = json.loads(json.dumps(result.recipe))
    recipe["settings"] |= {"seed": image.seed, "num_images": 1}
    recipe["similarity"] = None if image.similarity is None else round(image.similarity, 4)
    if embedding:
        recipe["identity"]["embedding"] = base64.b64encode(result.request.identity.vector.tobytes()).decode()
    return recipe


def png_bytes(image: GeneratedImage, result: GenerationResult, embedding: bool = False) -> bytes:
    """The picture as PNG with its recipe. `embedding`: store the identity embedding too (biometric data!)."""
    info = PngInfo()
    info.add_text(CHUNK, json.dumps(image_recipe(image, result, embedding)), zip=False)
    info.add_itxt("XML:com.adobe.xmp", _XMP)
    buffer = io.BytesIO()
    Image.fromarray(image.rgb_u8).save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def save_png(image: GeneratedImage, result: GenerationResult, path: Path | str, embedding: bool = False) -> Path:
    """Write the picture, whole or not at all. Raises StorageError when the disk refuses."""
    path = Path(path)
    data = png_bytes(image, result, embedding)
    with replace_with(path) as temporary:
        temporary.write_bytes(data)
    return path


def read_recipe(source: Path | str | bytes) -> dict[str, Any]:
    """The recipe of a PNG made here. Raises ImageError for other files and SettingsError when there is no recipe."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            text = picture.text.get(CHUNK) if isinstance(picture, PngImageFile) else None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError("This file is not a readable picture.") from error
    if text is None:
        raise SettingsError("This picture carries no recipe; only PNG files saved by this app do.")
    try:
        recipe = json.loads(text)
    except ValueError as error:
        raise SettingsError("The recipe in this picture is damaged.") from error
    if not isinstance(recipe, dict) or not isinstance(recipe.get("settings"), dict):
        raise SettingsError("The recipe in this picture is damaged.")
    return recipe


def request_from_recipe(recipe: Mapping[str, Any], identity: IdentityEmbedding | None = None) -> GenerationRequest:
    """A request with the recipe's settings and expression. Pose and reference need their pictures again.

    `identity`: the person; may be omitted when the recipe holds the embedding. Raises SettingsError.
    """
    stored = recipe.get("identity", {}).get("embedding")
    if identity is None:
        if stored is None:
            raise SettingsError("The recipe holds no identity embedding; give the person's photo as well.")
        vector = np.frombuffer(base64.b64decode(stored), np.float32)
        identity = IdentityEmbedding(vector, recipe["identity"].get("recogniser_sha256"))
    settings = {name: recipe["settings"][name] for name in _PLAIN if name in recipe["settings"]}
    condition = None
    if isinstance(recipe.get("expression"), dict):
        values = np.asarray(recipe["expression"]["values"], np.float32)
        condition = ExpressionCondition(Expression(values), float(recipe["expression"]["strength"]))
    try:
        return GenerationRequest(identity=identity, expression=condition, **settings)
    except TypeError as error:
        raise SettingsError("The recipe in this picture is damaged.") from error


__all__ = [
    "app_version",
    "describe",
    "image_recipe",
    "png_bytes",
    "read_recipe",
    "request_from_recipe",
    "save_png",
]
