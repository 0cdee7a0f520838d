"""Optional networks that figures of looks need: Inception for FID and KID, AlexNet or VGG for LPIPS.

Their files are named by the user, checked by hash, and never fetched. The arithmetic is that of the packages clean-fid
(Parmar et al., 2022) and lpips (Zhang et al., 2018); both are in the extra `evaluation`.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import IncompatibleWeightsError, MissingWeightsError, SettingsError
from arc2face.types import RgbU8
from arc2face.weights.store import load_state_dict, sha256_of

INCEPTION_NAME = "inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
RESIZE = "clean-fid's: each channel in float to 299 x 299 with Pillow's bicubic filter, no rounding between"
TRUNKS = {"alexnet": "alex", "vgg16": "vgg"}
"""How torchvision's files begin, and what lpips calls the network."""


class Inception:
    """(n, s, s, 3) uint8 aligned faces to (n, 2048) float32 pool features."""

    def __init__(self, path: Path | str) -> None:
        """`path`: inception-2015-12-05.pt, wherever it lies.

        Raises MissingWeightsError, IncompatibleWeightsError for another file, SettingsError without clean-fid.
        """
        self.path = _need(path, "Inception's")
        digest = sha256_of(self.path)
        if self.path.name != INCEPTION_NAME or digest != INCEPTION_SHA256:
            raise IncompatibleWeightsError(
                f"{self.path.name} is not {INCEPTION_NAME} as published (SHA-256 {INCEPTION_SHA256[:12]}...); FID and "
                "KID are only comparable with that very network."
            )
        self.sha256 = digest
        self._resize: Any = _package("cleanfid.resize", "clean-fid").build_resizer("clean")
        wrapper: Any = _package("cleanfid.inception_torchscript", "clean-fid").InceptionV3W
        self._net: Any = wrapper(str(self.path.parent), download=False, resize_inside=False).eval()

    @property
    def facts(self) -> dict[str, str]:
        """For the report."""
        return {"file": self.path.name, "sha256": self.sha256, "resize": RESIZE}

    def __call__(self, rgb_u8: RgbU8) -> NDArray[np.float32]:
        """Features of a batch."""
        import torch

        scaled = np.stack([np.asarray(self._resize(picture), np.float32) for picture in rgb_u8])
        with torch.no_grad():
            found = self._net(torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous())
        return np.asarray(found.cpu(), np.float32)


class Lpips:
    """LPIPS v0.1 between two batches of aligned faces, (n, s, s, 3) uint8 each: (n,) distances."""

    def __init__(self, path: Path | str) -> None:
        """`path`: torchvision's AlexNet (alexnet-owt-7be5be79.pth) or VGG-16 (vgg16-397923af.pth).

        Such names end in the first digits of the file's SHA-256, which is checked. Raises MissingWeightsError,
        IncompatibleWeightsError, SettingsError without lpips.
        """
        self.path = _need(path, "LPIPS's")
        self.sha256 = sha256_of(self.path)
        match = re.fullmatch(r"(alexnet|vgg16)\S*-([0-9a-f]{8})\.pth", self.path.name)
        if match is None or not self.sha256.startswith(match[2]):
            raise IncompatibleWeightsError(
                f"{self.path.name} is not torchvision's AlexNet or VGG-16 under its published name "
                "(alexnet-owt-7be5be79.pth, vgg16-397923af.pth), or is damaged."
            )
        self.trunk = TRUNKS[match[1]]
        _declare_operators()
        self._net: Any = _package("lpips", "lpips").LPIPS(net=self.trunk, pnet_rand=True, verbose=False)
        _fill(self._net.net, load_state_dict(self.path), self.path.name)
        self._net.eval()

    @property
    def facts(self) -> dict[str, str]:
        """For the report."""
        return {"file": self.path.name, "sha256": self.sha256, "network": self.trunk, "version": "0.1"}

    def __call__(self, a: RgbU8, b: RgbU8) -> NDArray[np.float32]:
        """Distances of a batch of pairs."""
        import torch

        first, second = (torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2).float() for x in (a, b))
        with torch.no_grad():
            found = self._net(first / 127.5 - 1.0, second / 127.5 - 1.0)
        return np.asarray(found.reshape(-1).cpu(), np.float32)


def _fill(trunk: Any, state: dict[str, Any], name: str) -> None:
    """The published trunk into lpips's slices, whose layers keep torchvision's numbers."""
    wanted = dict(trunk.state_dict())
    values = {key: state.get("features." + key.partition(".")[2]) for key in wanted}
    wrong = [key for key, value in values.items() if value is None or value.shape != wanted[key].shape]
    if wrong:
        raise IncompatibleWeightsError(f"{name} lacks the layer {wrong[0]!r} that LPIPS needs, or it has another size.")
    trunk.load_state_dict(values)


def _declare_operators() -> None:
    """Torchvision built for CUDA beside torch for the CPU fails at import for want of operators; declare those.

    LPIPS uses none of them, only the layers of AlexNet and VGG.
    """
    import torch

    for _ in range(len(_SCHEMAS) + 1):
        try:
            importlib.import_module("torchvision")
            return
        except ImportError:
            return  # said by _package
        except RuntimeError as error:
            match = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if match is None or match[1] not in _SCHEMAS:
                raise SettingsError(
                    "The package torchvision does not fit the torch that is installed; install the one of the same "
                    "build (CPU or CUDA)."
                ) from error
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(match[1] + _SCHEMAS[match[1]])
            _KEPT.append(library)


_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": "(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
}
_KEPT: list[Any] = []
"""Operators live as long as the library object that declares them."""


def _package(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f'This figure needs the package {package}: pip install "arc2face-studio[evaluation]"'
        ) from error


def _need(path: Path | str, whose: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise MissingWeightsError(f"{whose} file {found} is not there. Name it, or leave that figure out.")
    return found
