"""Is the recogniser in a model folder the one that Arc2Face was trained with?

Arc2Face's text encoder understands embeddings of one network only: `arcface.onnx`, trained on WebFace42M. antelopev2
ships `glintr100.onnx`, trained on Glint360K; its embeddings have the same shape and give pictures of strangers.
"""

from __future__ import annotations

from pathlib import Path

from arc2face.errors import MissingWeightsError, WrongRecogniserError
from arc2face.weights.store import sha256_of
from arc2face.weights.table import FOREIGN_RECOGNISERS

RECOGNISER = "arcface.onnx"
_WHY = "Arc2Face needs arcface.onnx (trained on WebFace42M); embeddings of another network give other people."


def check_recogniser(folder: Path) -> str:
    """SHA-256 of the folder's `arcface.onnx`, after refusing what must not be there.

    Args:
        folder: the `antelopev2` folder. A recogniser of another training run under the right name, such as the one
            of the starter bundle, is accepted: its hash travels with every embedding.

    Raises:
        WrongRecogniserError: `glintr100.onnx` beside or instead of `arcface.onnx`, or a known foreign network under
            that name.
        MissingWeightsError: no `arcface.onnx`.
    """
    wrong = sorted(path for path in folder.glob("*") if path.name.lower().startswith("glintr100") and _is_onnx(path))
    if wrong:
        raise WrongRecogniserError(
            f"{wrong[0].name} lies in {folder}. {_WHY} Delete it, then run: arc2face download identity"
        )
    path = folder / RECOGNISER
    if not path.is_file():
        raise MissingWeightsError(f"{RECOGNISER} is missing in {folder}. Fetch it with: arc2face download identity")
    return check_recogniser_file(path)


def check_recogniser_file(path: Path) -> str:
    """SHA-256 of a recogniser file; WrongRecogniserError when it is a known foreign one, by name or hash."""
    if path.name.lower().startswith("glintr100"):
        raise WrongRecogniserError(f"{path.name} is the wrong recogniser. {_WHY} Run: arc2face download identity")
    digest = sha256_of(path)
    foreign = FOREIGN_RECOGNISERS.get(digest)
    if foreign is not None:
        raise WrongRecogniserError(
            f"{path} is {foreign} under another name. {_WHY} Delete it, then run: arc2face download identity"
        )
    return digest


def _is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx" and path.is_file()
