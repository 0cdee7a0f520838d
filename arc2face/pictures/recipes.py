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
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from arc2face.errors import SettingsError
from arc2face.pictures import provenance, watermark
from arc2face.pictures.recipe_check import SETTINGS, check_recipe, parse_recipe, recipe_text, stored_embedding
from arc2face.pictures.saving import png_path
from arc2face.types import (
    Expression,
    ExpressionCondition,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    IdentityEmbedding,
    RgbU8,
)
from arc2face.weights.store import replace_with

CHUNK = "arc2face"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>'
)
"""The packet that marks a picture as drawn by a machine, for writers of files without a recipe."""

_OWN_FIELDS = {"pose", "expression", "reference"}


def app_version() -> str:
    """Version of the installed package, or "dev" in a bare checkout."""
    try:
        return metadata.version("arc2face-studio")
    except metadata.PackageNotFoundError:
        return "dev"


def describe(
    request: GenerationRequest,
    models: Mapping[str, str],
    bundle: str,
    adapters: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The JSON-ready recipe of a request.

    `models`: part name -> sha256 of its file. `bundle`: full, starter or tiny. `adapters`: what each adapter in use
    says of itself, by name; those with a field of their own in a request stand beside the settings, the others under
    `adapters`. `notes`: sentences about how the pictures came out.
    """
    recipe: dict[str, Any] = {"app": "Arc2Face Studio", "version": app_version(), "bundle": bundle}
    recipe |= {"settings": {name: getattr(request, name) for name in SETTINGS}, "models": dict(models)}
    vector = request.identity.vector
    recipe["identity"] = {
        "embedding_sha256": hashlib.sha256(vector.tobytes()).hexdigest(),
        "recogniser_sha256": request.identity.recogniser_sha256,
        "photos": request.identity.photos,
    }
    if request.negative is not None:
        other = request.negative.identity.vector
        sha = hashlib.sha256(other.tobytes()).hexdigest()
        recipe["negative"] = {"embedding_sha256": sha, "strength": request.negative.strength}
    parts = {name: dict(part) for name, part in (adapters or {}).items()}
    recipe |= {name: part for name, part in parts.items() if name in _OWN_FIELDS}
    if others := {name: part for name, part in parts.items() if name not in _OWN_FIELDS}:
        recipe["adapters"] = others
    return recipe | ({"notes": list(notes)} if notes else {})


def image_recipe(image: GeneratedImage, result: GenerationResult, embedding: bool = False) -> dict[str, Any]:
    """The result's recipe with this picture's own seed and score, as the settings that make it again alone."""
    recipe = json.loads(json.dumps(result.recipe))
    made = result.request
    recipe["settings"] |= {"seed": image.seed, "num_images": 1}
    recipe["run"] = {"num_images": made.num_images, "keep_best": made.keep_best, "seed": made.seed}
    recipe["similarity"] = None if image.similarity is None else round(image.similarity, 4)
    if embedding:
        recipe["identity"]["embedding"] = base64.b64encode(result.request.identity.vector.tobytes()).decode()
    return recipe


def png_bytes(image: GeneratedImage, result: GenerationResult, embedding: bool = False) -> bytes:
    """The picture as PNG with its recipe. `embedding`: store the identity embedding too (biometric data!)."""
    return recipe_png(image.rgb_u8, image_recipe(image, result, embedding))


def recipe_png(rgb_u8: RgbU8, recipe: Mapping[str, Any]) -> bytes:
    """(H, W, 3) uint8 RGB as PNG with a recipe, marked as synthetic, signed last.

    `arc2face.pictures.watermark` and `arc2face.pictures.provenance` say what the environment decides about the marks.
    """
    return provenance.signed(plain_png(watermark.watermarked(rgb_u8), recipe), SOURCE_TYPE, app_version())


def check_marks() -> None:
    """Before anything is computed: can pictures be marked as the environment asks? Raises SettingsError."""
    provenance.wanted()
    watermark.wanted()


def plain_png(rgb_u8: RgbU8, recipe: Mapping[str, Any]) -> bytes:
    """The same without a signature, which is another one each time: equal pictures give equal bytes."""
    info = PngInfo()
    info.add_text(CHUNK, json.dumps(recipe), zip=False)
    info.add_itxt("XML:com.adobe.xmp", XMP)
    buffer = io.BytesIO()
    Image.fromarray(rgb_u8).save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def save_png(image: GeneratedImage, result: GenerationResult, path: Path | str, embedding: bool = False) -> Path:
    """Write the picture as PNG, whole or not at all.

    Raises:
        SettingsError: the name does not end in `.png`; recipes live in PNG files only.
        StorageError: the disk refuses.
    """
    path = png_path(path)
    data = png_bytes(image, result, embedding)
    with replace_with(path) as temporary:
        temporary.write_bytes(data)
    return path


def read_recipe(source: Path | str | bytes) -> dict[str, Any]:
    """The recipe of a PNG made here, every value of a kind that a request accepts. No pixel is decoded.

    Raises:
        ImageError: not a readable PNG. SettingsError: no recipe, or one that cannot be used; the message says why.
    """
    return parse_recipe(recipe_text(source, CHUNK))


def request_from_recipe(recipe: Mapping[str, Any], identity: IdentityEmbedding | None = None) -> GenerationRequest:
    """A request with the recipe's settings, expression and extras. Pose, reference and negative identity need
    their pictures again.

    `identity`: the person; may be omitted when the recipe holds the embedding. Raises SettingsError.
    """
    recipe = check_recipe(recipe)
    if identity is None:
        person = recipe.get("identity") or {}
        if person.get("embedding") is None:
            raise SettingsError("The recipe holds no identity embedding; give the person's photo as well.")
        identity = IdentityEmbedding(stored_embedding(person["embedding"]), person.get("recogniser_sha256"))
    settings = {name: recipe["settings"][name] for name in SETTINGS if name in recipe["settings"]}
    condition = None
    if isinstance(recipe.get("expression"), dict):
        values = np.asarray(recipe["expression"]["values"], np.float32)
        condition = ExpressionCondition(Expression(values), float(recipe["expression"].get("strength", 1.0)))
    try:
        return GenerationRequest(identity=identity, expression=condition, extras=_extras(recipe), **settings)
    except TypeError as error:
        raise SettingsError("The recipe in this picture is damaged.") from error


def _extras(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the adapters that have no field of their own in a request."""
    parts: Mapping[str, Any] = recipe.get("adapters") or {}
    if not all(isinstance(part, Mapping) for part in parts.values()):
        raise SettingsError("The recipe in this picture cannot be used: an adapter's settings are no JSON object")
    return {name: dict(part) for name, part in parts.items()}


__all__ = [
    "XMP",
    "app_version",
    "describe",
    "image_recipe",
    "png_bytes",
    "read_recipe",
    "recipe_png",
    "request_from_recipe",
    "save_png",
]
