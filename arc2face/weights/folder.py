"""Where the model files are: one folder in the original project's layout, whatever fills it.

Three kinds of folder are understood: the full weights, the starter bundle we ship, and the tiny random models of
the tests. All have the same layout; a file called `bundle.json` with {"kind": "starter"} tells the last two apart.
Importing this module pulls in neither torch nor diffusers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from arc2face.errors import CorruptWeightsError, MissingWeightsError
from arc2face.weights.entries import WeightFile
from arc2face.weights.jsonfile import read_json
from arc2face.weights.spellings import preferred
from arc2face.weights.table import FEATURES, by_key, files_of

__all__ = ["BundleKind", "ModelsFolder", "best_bundle", "checkout", "emoca_assets", "feature_of"]

_PACKAGED = Path(__file__).resolve().parents[1] / "starter"
"""The starter models of a wheel; in a checkout they lie in models/starter."""

BundleKind = Literal["full", "starter", "tiny"]
_KINDS = ("full", "starter", "tiny")

IDENTITY_KEYS = (
    "unet-config",
    "unet",
    "encoder-config",
    "encoder",
    "sd15-vae-config",
    "sd15-vae-diffusion-pytorch-model",
    "sd15-tokenizer-vocab",
    "sd15-scheduler-scheduler-config",
)
"""What must be there before the Identity tab can make a picture from an embedding, by key in the weights table."""


@dataclass(frozen=True)
class ModelsFolder:
    """A models root. Every path is looked up in `root`, then `root/models`, then the parent of `root`.

    The second and third place make a project checkout and a folder that keeps the SD 1.5 base beside `models/` work
    without moving files. `also`: further roots tried last, such as external/emoca/assets for the EMOCA files.
    """

    root: Path
    also: tuple[Path, ...] = ()

    @cached_property
    def places(self) -> tuple[Path, ...]:
        """The folders searched, in order."""
        root = self.root.resolve()
        return (root, root / "models", root.parent, *self.also)

    def locate(self, file: WeightFile | str, half: bool = False) -> Path | None:
        """The file of this checkpoint (an entry of the weights table, or its key) that is used here, or None.

        This is the only look-up: whatever loads, checks, fetches, hashes or lists a checkpoint asks here. `half`
        tries half-precision files first, as a device that runs in half precision wants them. A sharded checkpoint is
        found by its index file.
        """
        entry = by_key(file) if isinstance(file, str) else file
        return self.find(*preferred(entry.spellings, half))

    def need(self, key: str, half: bool = False) -> Path:
        """Like `locate`; raises MissingWeightsError naming the file and the command that fetches it."""
        found = self.locate(key, half)
        if found is None:
            raise self._missing(by_key(key).path, feature_of(key))
        return found

    def find(self, *spellings: str) -> Path | None:
        """First existing file among `spellings` (which may hold `*`), relative to a models root, place by place."""
        return next((path for place in self.places for name in spellings for path in _matches(place, name)), None)

    def require(self, *spellings: str, feature: str = "identity") -> Path:
        """Like `find`; raises MissingWeightsError naming the first spelling and the command that fetches it."""
        found = self.find(*spellings)
        if found is None:
            raise self._missing(spellings[0], feature)
        return found

    @cached_property
    def kind(self) -> BundleKind:
        """full, starter or tiny, as `bundle.json` says; full when there is none.

        Raises CorruptWeightsError when that file says neither.
        """
        for place in self.places[:2]:
            for marker in _matches(place, "bundle.json"):
                kind = read_json(marker, max_bytes=1 << 20).get("kind", "full")
                if kind not in _KINDS:
                    raise CorruptWeightsError(
                        f"{marker} must name one of these kinds: {', '.join(_KINDS)}. Correct or delete it."
                    )
                return kind
        return "full"

    def missing(self, keys: Iterable[str] = IDENTITY_KEYS) -> list[str]:
        """Published paths of the files, of those with these keys, that are not there."""
        return [by_key(key).path for key in keys if self.locate(key) is None]

    def missing_for(self, feature: str) -> list[str]:
        """Published paths of the files that a feature still lacks. Raises KeyError for an unknown feature."""
        return self.missing(file.key for file in files_of(feature) if file.needed)

    def _missing(self, path: str, feature: str) -> MissingWeightsError:
        return MissingWeightsError(f"The model file {path} is missing in {self.root}. Run: arc2face download {feature}")


def feature_of(key: str) -> str:
    """The first feature that needs the file with this key: what to download for it."""
    return next(name for name, keys in FEATURES.items() if key in keys)


def _matches(place: Path, name: str) -> Iterator[Path]:
    """The file `name` below `place`, or the best of those that a pattern matches. What cannot be read is not there."""
    try:
        if "*" not in name:
            found = [place / name] if (place / name).is_file() else []
        else:
            candidates = (path for path in place.glob(name) if path.is_file() and "last" not in path.name)
            found = sorted(candidates, key=_loss)[:1]
    except (OSError, ValueError):
        return
    yield from found


def _loss(path: Path) -> tuple[float, str]:
    """Lightning writes the validation loss behind the last '=': the smallest is the best."""
    match = re.search(r"=(-?\d+(?:\.\d+)?)(?:-v\d+)?\.ckpt$", path.name)
    return float(match[1]) if match else float("inf"), str(path)


def checkout() -> Path | None:
    """The checkout that this package is run from; None when it was installed.

    An installed package has no folder of models beside it: what lies there belongs to other packages.
    """
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() and (folder / "external").is_dir() else None


def emoca_assets() -> tuple[Path, ...]:
    """Where the original project keeps the EMOCA and FLAME files; looked through after a models folder."""
    folder = checkout()
    return () if folder is None else (folder / "external" / "emoca" / "assets",)


def _full_folders() -> list[Path]:
    house = checkout()
    return [Path("models"), *([] if house is None else [house / "models"])]


def starter_folders() -> list[Path]:
    """Where starter models may lie: below ./models, in the checkout's models, and in the package (of a wheel)."""
    return [*(folder / "starter" for folder in _full_folders()), *([_PACKAGED] if _PACKAGED.is_dir() else [])]


def best_bundle(explicit: Path | str | None = None) -> ModelsFolder:
    """The best models found: `explicit`, ARC2FACE_MODELS, ./models, the checkout's models, then a starter bundle.

    Starter bundles are looked for in ./models, in the checkout's models, and in the package (wheels bring them along).
    An explicit folder (or the variable) is taken as it is, even when files are missing: the user asked for it.
    Raises MissingWeightsError when the explicit folder does not exist or when nothing is found at all, and
    CorruptWeightsError when the chosen folder's `bundle.json` is damaged.
    """
    asked = explicit or os.environ.get("ARC2FACE_MODELS")
    assets = emoca_assets()
    if asked:
        folder = Path(asked).expanduser()
        if not folder.is_dir():
            raise MissingWeightsError(f"The models folder {folder} does not exist; create it or choose another.")
        return _opened(ModelsFolder(folder, assets))
    house, full = checkout(), _full_folders()
    starter = starter_folders()
    # The tiny random models have no face networks of their own; the starter bundle's work beside them.
    tiny = [] if house is None else [house / "tests" / "data" / "tiny" / "models"]
    candidates = [*full, *starter, *tiny]
    for folder in candidates:
        bundle = ModelsFolder(folder, (*starter, *assets) if folder in tiny else assets)
        if folder.is_dir() and not bundle.missing():
            return _opened(bundle)
    raise MissingWeightsError(
        f"No models were found (looked in {', '.join(str(folder) for folder in candidates)}). "
        "Run: arc2face download identity"
    )


def _opened(bundle: ModelsFolder) -> ModelsFolder:
    """The folder, once its kind could be read: a damaged bundle.json is said before anything starts."""
    _ = bundle.kind
    return bundle
