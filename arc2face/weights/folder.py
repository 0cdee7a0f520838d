"""Where the model files are: one folder in the original project's layout, whatever fills it.

Three kinds of folder are understood: the full weights, the starter bundle we ship, and the tiny random models of
the tests. All have the same layout; a file called `bundle.json` with {"kind": "starter"} tells the last two apart.
Importing this module pulls in neither torch nor diffusers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from arc2face.errors import MissingWeightsError

BundleKind = Literal["full", "starter", "tiny"]

SAFETENSORS = "diffusion_pytorch_model.safetensors"
BASE_MODEL = "stable-diffusion-v1-5"

# What must be there before the Identity tab can make a picture. Each entry lists accepted spellings.
IDENTITY_FILES: tuple[tuple[str, ...], ...] = (
    ("arc2face/config.json",),
    (f"arc2face/{SAFETENSORS}", "arc2face/diffusion_pytorch_model.fp16.safetensors"),
    ("encoder/config.json",),
    ("encoder/pytorch_model.bin", "encoder/model.safetensors"),
    (f"{BASE_MODEL}/vae/config.json",),
    (f"{BASE_MODEL}/vae/{SAFETENSORS}", f"{BASE_MODEL}/vae/diffusion_pytorch_model.fp16.safetensors"),
    (f"{BASE_MODEL}/tokenizer/vocab.json",),
    (f"{BASE_MODEL}/scheduler/scheduler_config.json",),
)


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

    def find(self, *spellings: str) -> Path | None:
        """First existing file or folder among `spellings`, given relative to a models root."""
        for place in self.places:
            for spelling in spellings:
                if (place / spelling).exists():
                    return place / spelling
        return None

    def require(self, *spellings: str, feature: str = "identity") -> Path:
        """Like `find`; raises MissingWeightsError naming the file and the command that fetches it."""
        found = self.find(*spellings)
        if found is None:
            raise MissingWeightsError(
                f"The model file {spellings[0]} is missing in {self.root}. Run: arc2face download {feature}"
            )
        return found

    @cached_property
    def kind(self) -> BundleKind:
        """full, starter or tiny, as `bundle.json` says; full when there is none."""
        for place in self.places[:2]:
            marker = place / "bundle.json"
            if marker.is_file():
                kind = json.loads(marker.read_text(encoding="utf-8")).get("kind", "full")
                return kind if kind in ("full", "starter", "tiny") else "full"
        return "full"

    def missing_for_identity(self) -> list[str]:
        """Relative paths that the Identity tab still lacks, first spelling of each."""
        return [spellings[0] for spellings in IDENTITY_FILES if self.find(*spellings) is None]


def project_root() -> Path:
    """The checkout (or site-packages) that holds this package."""
    return Path(__file__).resolve().parents[2]


def best_bundle(explicit: Path | str | None = None) -> ModelsFolder:
    """The best models found: `explicit`, ARC2FACE_MODELS, ./models, the checkout's models, then its starter bundle.

    An explicit folder (or the variable) is taken as it is, even when files are missing: the user asked for it.
    Raises MissingWeightsError when the explicit folder does not exist or when nothing is found at all.
    """
    asked = explicit or os.environ.get("ARC2FACE_MODELS")
    emoca_assets = (project_root() / "external" / "emoca" / "assets",)
    if asked:
        folder = Path(asked).expanduser()
        if not folder.is_dir():
            raise MissingWeightsError(f"The models folder {folder} does not exist; create it or choose another.")
        return ModelsFolder(folder, emoca_assets)
    full = [Path("models"), project_root() / "models"]
    starter = [folder / "starter" for folder in full]
    # The tiny random models have no face networks of their own; the starter bundle's work beside them.
    tiny = [project_root() / "tests" / "data" / "tiny" / "models"]
    candidates = [*full, *starter, *tiny]
    for folder in candidates:
        bundle = ModelsFolder(folder, (*starter, *emoca_assets) if folder in tiny else emoca_assets)
        if folder.is_dir() and not bundle.missing_for_identity():
            return bundle
    raise MissingWeightsError(
        f"No models were found (looked in {', '.join(str(folder) for folder in candidates)}). "
        "Run: arc2face download identity"
    )
