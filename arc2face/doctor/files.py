"""Every model file: present, of the right size and hash, loadable, and the right recogniser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arc2face.doctor.report import Check, Status
from arc2face.errors import Arc2FaceError, MissingWeightsError, WeightsError, WrongRecogniserError
from arc2face.weights.download.ledger import Ledger
from arc2face.weights.download.text import size as shown
from arc2face.weights.folder import ModelsFolder, best_bundle, feature_of
from arc2face.weights.licences import LICENCES
from arc2face.weights.sniff import what_is_wrong
from arc2face.weights.spellings import is_index
from arc2face.weights.store import bytes_of, checkpoint_sha256, load_state_dict
from arc2face.weights.table import WEIGHTS, WeightFile

__all__ = ["check_files"]

_TITLES = {"full": "the original weights", "starter": "the starter models shipped here", "tiny": "tiny random models"}


def check_files(models: Path | None, quick: bool) -> Iterator[Check]:
    """Findings about the models folder and each file in it."""
    try:
        folder = best_bundle(models)
    except WeightsError as error:
        remedy = "arc2face download identity" if isinstance(error, MissingWeightsError) else ""
        yield Check("models", "models folder", "error", str(error), remedy)
        return
    status: Status = "warning" if folder.kind == "tiny" else "ok"
    remedy = "Their pictures are noise. arc2face download identity" if folder.kind == "tiny" else ""
    data = {"path": str(folder.root.resolve()), "kind": folder.kind}
    yield Check("models", "models folder", status, f"{_TITLES[folder.kind]}, in {folder.root}", remedy, data)
    for file in WEIGHTS:
        full, half = folder.locate(file), folder.locate(file, half=True)
        yield _check_file(folder, file, full, quick)
        if half != full:  # both are there; which one is used depends on the device
            yield _check_file(folder, file, half, quick, ", half precision")
    yield from _check_ledger(folder)
    yield from _check_recogniser(folder)
    if not quick:
        yield from _check_pose_reader(folder)


def _check_file(folder: ModelsFolder, file: WeightFile, found: Path | None, quick: bool, which: str = "") -> Check:
    ours = folder.kind != "full" and found is not None
    licence = LICENCES["mit" if ours else file.licence].title
    data: dict[str, Any] = {"key": file.key, "path": file.path, "licence": licence}
    if found is None:
        return _absent(folder, file, data)
    size = bytes_of(found)
    data |= {"found": str(found), "bytes": size}
    problem = what_is_wrong(found) or _wrong_size(folder, file, found, size)
    if problem is None and not quick:
        problem, data["sha256"] = _look_inside(folder, file, found)
    if problem is not None:
        remedy = f"Delete it and run: arc2face download {feature_of(file.key)}"
        return Check("models", file.title + which, _grade(file), f"{found}: {problem}", remedy, data)
    return Check("models", file.title + which, "ok", f"{shown(size)}{_trust(folder, file, found, quick)}", data=data)


def _look_inside(folder: ModelsFolder, file: WeightFile, found: Path) -> tuple[str | None, str]:
    """What a full read of the file finds, and its hash."""
    try:
        digest = checkpoint_sha256(found)
    except WeightsError as error:
        return str(error), ""
    return _wrong_hash(folder, file, found, digest) or _does_not_load(found), digest


def _absent(folder: ModelsFolder, file: WeightFile, data: dict[str, Any]) -> Check:
    """A missing file is an error when nothing works without it, and only worth a note in the small bundles."""
    feature = feature_of(file.key)
    licence = LICENCES[file.licence]
    remedy = f"arc2face download {feature}"
    if licence.must_accept:
        remedy += f" --accept-licence {licence.key} (register first at {licence.pages[0]})"
    if folder.kind != "full":
        return Check("models", file.title, "note", f"not in {_TITLES[folder.kind]}", remedy, data)
    status: Status = "error" if feature == "identity" and file.needed else "note"
    return Check("models", file.title, status, f"missing; {feature} needs it", remedy, data)


def _grade(file: WeightFile) -> Status:
    return "error" if feature_of(file.key) == "identity" else "warning"


def _wrong_size(folder: ModelsFolder, file: WeightFile, found: Path, size: int) -> str | None:
    if folder.kind != "full" or found.name not in file.published_names:
        return None
    sizes = {file.bytes, file.fp16.bytes if file.fp16 else None} - {None}
    if sizes and size not in sizes:
        return f"it has {size} bytes instead of {' or '.join(str(s) for s in sorted(filter(None, sizes)))}"
    return None


def _wrong_hash(folder: ModelsFolder, file: WeightFile, found: Path, digest: str) -> str | None:
    if folder.kind != "full":
        return None
    if found.name in file.published_names and file.known_hashes:
        return None if digest in file.known_hashes else "its SHA-256 is not the published one"
    noted = _noted(folder, found)
    return None if noted is None or noted == digest else "it has changed since it was fetched"


def _noted(folder: ModelsFolder, found: Path) -> str | None:
    """The hash that the downloader recorded for a file."""
    root = folder.root.resolve()
    if not found.is_relative_to(root):
        return None
    try:
        entry = Ledger(root).get(found.relative_to(root).as_posix())
    except WeightsError:  # said once, by `_check_ledger`
        return None
    return entry.sha256 if entry else None


def _trust(folder: ModelsFolder, file: WeightFile, found: Path, quick: bool) -> str:
    if quick or folder.kind != "full":
        return ""
    if found.name in file.published_names and file.known_hashes:
        return ", published hash"
    return ", hash as first fetched" if _noted(folder, found) else ", no published hash to compare with"


def _does_not_load(path: Path) -> str | None:
    """Opens the file as the program would; None when that works, or when only other parts can open it."""
    try:
        if path.suffix in (".bin", ".pt") or is_index(path.name):
            load_state_dict(path)
        elif path.suffix == ".onnx":
            return _onnx_problem(path)
    except ImportError as error:
        return f"it could not be tried: {error}"
    except Arc2FaceError as error:
        return str(error)
    return None


def _onnx_problem(path: Path) -> str | None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exception types are not public
        return f"onnxruntime cannot open it ({str(error).splitlines()[0]})"
    return None


def _check_ledger(folder: ModelsFolder) -> Iterator[Check]:
    try:
        Ledger(folder.root.resolve()).get("")
    except WeightsError as error:
        yield Check("models", "recorded hashes", "warning", str(error), "Restore checksums.json, or delete it.")


def _check_recogniser(folder: ModelsFolder) -> Iterator[Check]:
    from arc2face.faces.recogniser import check_recogniser

    found = folder.locate("arcface") or folder.locate("detector")
    if found is None:
        return
    try:
        digest = check_recogniser(found.parent)
    except WrongRecogniserError as error:
        yield Check("models", "recogniser", "error", str(error), "Delete the file, then: arc2face download identity")
    except MissingWeightsError:
        return
    else:
        yield Check("models", "recogniser", "ok", "arcface.onnx alone", data={"sha256": digest})


def _check_pose_reader(folder: ModelsFolder) -> Iterator[Check]:
    """Opens the EMOCA and FLAME files as the Pose tab would; their formats are not those of the other files."""
    from arc2face.pose.reader import PoseReader

    reader = PoseReader.of_models(folder)
    photos, angles = reader.available()
    if not (photos or angles):
        return
    try:
        if photos:
            reader.load()
        else:
            reader.from_angles(0.0, 0.0, 0.0, size=64)
    except (Arc2FaceError, ImportError) as error:
        yield Check("models", "pose reader", "warning", str(error), "arc2face download pose, after deleting the file")
        return
    reads = "reads photos and draws angles" if photos else "draws angles; photos need the EMOCA checkpoint too"
    yield Check("models", "pose reader", "ok", reads)
