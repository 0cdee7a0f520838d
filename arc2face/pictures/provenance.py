"""Content Credentials (C2PA 2.x): a signed statement inside a picture that it was made by a model.

The last step of saving a PNG. The manifest says which program made the picture, that it is synthetic (IPTC digital
source type) and, by its hash, which bytes it speaks of: whoever changes a pixel afterwards breaks it. It holds no name,
no photo and nothing of the recipe.

Signed with the key of `ARC2FACE_C2PA_CERTIFICATE` and `ARC2FACE_C2PA_KEY` (PEM files; the certificate first, then those
that vouch for it), else with a key that this process makes for itself and forgets. A self-made key proves that the
picture was not changed since, not who made it; being new in every process, it links no two sessions.
`ARC2FACE_C2PA=off` leaves the manifest out. https://spec.c2pa.org
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arc2face import checks
from arc2face.errors import ImageError, SettingsError
from arc2face.pictures.selfmade import self_made

log = logging.getLogger(__name__)

SWITCH, CERTIFICATE, KEY = "ARC2FACE_C2PA", "ARC2FACE_C2PA_CERTIFICATE", "ARC2FACE_C2PA_KEY"
ALGORITHMS = {
    "secp256r1": b"es256",
    "secp384r1": b"es384",
    "secp521r1": b"es512",
    "ed25519": b"ed25519",
    "rsa": b"ps256",
}
"""Kinds of keys, and the signature that C2PA makes with each."""
MISSING = "pictures carry no Content Credentials: pip install c2pa-python (or set ARC2FACE_C2PA=off)"
_QUIET: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},  # nothing is asked of anybody
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the Content Credentials of a file say.

    `state`: `none` (there are none), `valid` (unchanged since it was signed), `trusted` (and the signer is vouched for
    by an authority that the reader knows) or `invalid` (changed since, or damaged). `generator`: the program that made
    it. `signer`: the name in the certificate. `synthetic`: whether it says that a model made the picture. `problems`:
    codes of the C2PA specification, without that of an unknown signer.
    """

    state: str
    generator: str = ""
    signer: str = ""
    synthetic: bool = False
    problems: tuple[str, ...] = ()


def wanted() -> bool:
    """Whether pictures get credentials. Raises SettingsError for a switch that is neither on nor off."""
    return checks.switched_on(SWITCH, usual=True)


def signed(png: bytes, source_type: str, version: str) -> bytes:
    """A PNG with credentials; the same bytes where they are switched off, or where the library for them is missing.

    `source_type`: address of an IPTC digital source type. Raises SettingsError when the user's own key cannot be used.
    """
    if not wanted():
        return png
    library = _library()
    if library is None:
        _complain()
        return png
    action = {"action": "c2pa.created", "digitalSourceType": source_type}
    manifest = {
        "claim_generator_info": [{"name": "Arc2Face Studio", "version": version}],
        "format": "image/png",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    target = io.BytesIO()
    try:
        with library.Context(library.Settings.from_dict(_QUIET)) as context, _signer(library) as signer:
            library.Builder(json.dumps(manifest), context).sign(signer, "image/png", io.BytesIO(png), target)
    except library.C2paError as error:
        raise SettingsError(f"The picture could not be signed ({error}). Check {CERTIFICATE} and {KEY}.") from error
    return target.getvalue()


def read_provenance(source: Path | str | bytes) -> Provenance:
    """Check the credentials of a picture with the C2PA library's own reader. Nothing is fetched.

    Raises ImageError for a file that cannot be read, SettingsError when the library is not installed.
    """
    library = _library()
    if library is None:
        raise SettingsError("Reading Content Credentials needs a package: pip install c2pa-python")
    try:
        data = source if isinstance(source, bytes) else Path(source).expanduser().read_bytes()
    except OSError as error:
        raise ImageError(f"{source} cannot be read ({error.strerror}).") from error
    try:
        with library.Context(library.Settings.from_dict(_QUIET)) as context:
            told: dict[str, Any] = json.loads(library.Reader(_kind(data), io.BytesIO(data), context=context).json())
    except library.C2paError.ManifestNotFound:
        return Provenance("none")
    except library.C2paError as error:
        raise ImageError(f"The Content Credentials of this file cannot be read ({error}).") from error
    return _told(told)


def _told(told: Mapping[str, Any]) -> Provenance:
    active: Mapping[str, Any] = told.get("manifests", {}).get(told.get("active_manifest"), {})
    generators = active.get("claim_generator_info") or [{}]
    failures = told.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    problems = sorted({str(one["code"]) for one in failures} - {"signingCredential.untrusted"})
    return Provenance(
        state=str(told.get("validation_state", "Invalid")).lower(),
        generator=" ".join(str(generators[0].get(name, "")) for name in ("name", "version")).strip(),
        signer=str(active.get("signature_info", {}).get("common_name") or ""),
        synthetic="trainedAlgorithmicMedia" in json.dumps(active.get("assertions", [])),
        problems=tuple(problems),
    )


def _kind(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise ImageError("Content Credentials are read from PNG, JPEG and WebP files.")


def _signer(library: Any) -> Any:
    certificates, key, algorithm = _credentials(os.environ.get(CERTIFICATE, ""), os.environ.get(KEY, ""))
    info = library.C2paSignerInfo(alg=algorithm, sign_cert=certificates, private_key=key, ta_url=None)
    return library.Signer.from_info(info)


@functools.lru_cache(maxsize=4)
def _credentials(certificate: str, key: str) -> tuple[bytes, bytes, bytes]:
    """Certificates and key as PEM, and the signature's name. Raises SettingsError."""
    if not certificate and not key:
        return (*self_made(), ALGORITHMS["secp256r1"])
    if not (certificate and key):
        raise SettingsError(f"{CERTIFICATE} and {KEY} belong together; set both, or neither.")
    try:
        return (Path(certificate).read_bytes(), pem := Path(key).read_bytes(), _algorithm(pem))
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _algorithm(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: Any = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{KEY} is no private key in PEM without a password.") from error
    kind = getattr(getattr(key, "curve", None), "name", type(key).__name__.removesuffix("PrivateKey").lower())
    if kind not in ALGORITHMS:
        raise SettingsError(f"C2PA has no signature for a key of kind {kind}; there are {', '.join(ALGORITHMS)}.")
    return ALGORITHMS[kind]


def _library() -> Any:
    try:
        return importlib.import_module("c2pa")
    except (ImportError, OSError):
        return None


@functools.lru_cache(maxsize=1)
def _complain() -> None:
    log.warning(MISSING)
