"""The image encoders: a bottleneck ResNet, global average pooling, and two linear layers.

EMOCA's are ResNet-50 (He et al. 2016, stride on the 3 x 3 convolution) with 2048 features and 1024 hidden units. Any
number of stages, blocks and channels works: a configuration can be read off the shapes of a checkpoint's own arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from arc2face_emoca.errors import IncompatibleAssetError

__all__ = ["Encoder", "EncoderConfig"]

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Shape of one encoder; the defaults are EMOCA's ResNet-50.

    `stem`: channels of the first convolution. `widths`: channels of the 3 x 3 convolutions of each stage. `blocks`:
    blocks per stage. `channels`: output channels of each stage (the last one is the feature size). `hidden`: units
    of the first linear layer. `outputs`: numbers it predicts (236 for E_flame, 50 for E_expression).
    """

    stem: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    hidden: int = 1024
    outputs: int = 236

    @classmethod
    def infer(cls, state: Mapping[str, Any], prefix: str = "") -> EncoderConfig:
        """Read the configuration off array shapes.

        Args:
            state: arrays or tensors by name.
            prefix: what precedes `encoder.` and `layers.` in the names, for example `deca.E_flame.`.

        Raises:
            IncompatibleAssetError: the names or shapes are not those of such an encoder.
        """
        try:
            return cls._infer(state, prefix)
        except KeyError as error:
            raise IncompatibleAssetError(f"The encoder {prefix!r} lacks the key {error}.") from error

    @classmethod
    def _infer(cls, state: Mapping[str, Any], prefix: str) -> EncoderConfig:
        def rows(name: str) -> int:
            return int(state[f"{prefix}{name}.weight"].shape[0])

        widths: list[int] = []
        blocks: list[int] = []
        channels: list[int] = []
        while f"{prefix}encoder.layer{len(widths) + 1}.0.conv1.weight" in state:
            stage = f"encoder.layer{len(widths) + 1}"
            count = 1
            while f"{prefix}{stage}.{count}.conv1.weight" in state:
                count += 1
            widths.append(rows(f"{stage}.0.conv1"))
            blocks.append(count)
            channels.append(rows(f"{stage}.0.conv3"))
        if not widths:
            raise IncompatibleAssetError(
                f"There is no ResNet under {prefix!r}: no key {prefix}encoder.layer1.0.conv1.weight."
            )
        return cls(
            stem=rows("encoder.conv1"),
            widths=tuple(widths),
            blocks=tuple(blocks),
            channels=tuple(channels),
            hidden=rows("layers.0"),
            outputs=rows("layers.2"),
        )


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Backbone(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, config.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.stem)
        self.stages = len(config.widths)
        inputs = config.stem
        for index, (width, count, outputs) in enumerate(
            zip(config.widths, config.blocks, config.channels, strict=True)
        ):
            stride = 1 if index == 0 else 2
            layers = [_Bottleneck(inputs, width, outputs, stride, True)]
            layers += [_Bottleneck(outputs, width, outputs, 1, False) for _ in range(count - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*layers))
            inputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.max_pool2d(x, 3, 2, 1)
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)


class Encoder(nn.Module):
    """ResNet features and a two-layer head. Its own state-dict keys are those of a checkpoint after the prefix."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or EncoderConfig()
        self.encoder = _Backbone(self.config)
        self.layers = nn.Sequential(
            nn.Linear(self.config.channels[-1], self.config.hidden),
            nn.ReLU(),
            nn.Linear(self.config.hidden, self.config.outputs),
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], prefix: str = "") -> Encoder:
        """Build the encoder found under `prefix` (for example `deca.E_flame.`), in eval mode.

        Raises:
            IncompatibleAssetError: keys are missing, left over, or of another shape.
        """
        own = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
        model = cls(EncoderConfig.infer(own)).to(torch.float32)  # whatever torch.set_default_dtype says
        wanted = model.state_dict()
        missing = [name for name in wanted if name not in own and not name.endswith(_COUNTER)]
        surplus = [name for name in own if name not in wanted]
        wrong = [f"{n} {tuple(own[n].shape)}" for n, w in wanted.items() if n in own and own[n].shape != w.shape]
        problems = [("missing", missing), ("unexpected", surplus), ("of another shape", wrong)]
        told = [f"{title}: {', '.join(names[:4])} ({len(names)} in all)" for title, names in problems if names]
        if told:
            raise IncompatibleAssetError(
                f"The encoder {prefix!r} does not fit a bottleneck ResNet. Keys {'; '.join(told)}."
            )
        model.load_state_dict({name: own.get(name, value) for name, value in wanted.items()})
        return model.eval()

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in 0..1 to (B, channels[-1]) pooled features. There is no mean/std normalisation."""
        return self.encoder(crops)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in 0..1 to (B, outputs)."""
        return self.layers(self.features(crops))
