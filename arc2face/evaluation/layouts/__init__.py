"""Readers of sets, one file per layout. Nothing is ever downloaded: a set is a folder that a person has."""

from __future__ import annotations

from pathlib import Path

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.evaluation.layouts.agedb import read_agedb
from arc2face.evaluation.layouts.folder import read_drawn, read_folder
from arc2face.evaluation.layouts.lfw import read_lfw
from arc2face.evaluation.layouts.synth500 import read_synth500
from arc2face.evaluation.samples import FaceSet

__all__ = ["SUITES", "read_agedb", "read_drawn", "read_folder", "read_lfw", "read_set", "read_synth500"]

SUITES = ("folder", "lfw", "agedb", "synth500")


def read_set(suite: str, path: Path | str, list_file: Path | str | None = None) -> FaceSet:
    """The set in a folder; `suite` is a name of SUITES.

    `list_file`: CSV with the columns file and person, for `folder` and `synth500`.
    Raises InputError, which says what the layout is, when the folder does not have it.
    """
    suite = checks.choice("The suite", suite, SUITES)
    if suite in ("lfw", "agedb"):
        if list_file is not None:
            raise SettingsError(f"The layout of {suite} says whom its pictures show; leave the list out.")
        return read_lfw(path) if suite == "lfw" else read_agedb(path)
    return read_folder(path, list_file) if suite == "folder" else read_synth500(path, list_file)
