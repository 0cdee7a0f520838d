"""SMIRK's expression encoder: MobileNetV3-Large "minimal" features and a linear head.

Sources: Retsinas et al., "3D Facial Expressions through Analysis-by-Neural-Synthesis" (SMIRK, CVPR 2024); Howard et
al., "Searching for MobileNetV3" (2019). Attribute names repeat the published state dict, so it loads strictly.
Padding follows TensorFlow's SAME rule and batch norms use TensorFlow's epsilon, as in the pretrained backbone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RAW_SIZE = 55
"""Outputs of the head: 50 expression, 2 eyelids, 3 jaw."""

_BATCH_NORM_EPS = 1e-3
# one row per block of stages 1 to 5: (inner, output) channels and stride
_STAGES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((64, 24, 2), (72, 24, 1)),
    ((72, 40, 2), (120, 40, 1), (120, 40, 1)),
    ((240, 80, 2), (200, 80, 1), (184, 80, 1), (184, 80, 1)),
    ((480, 112, 1), (672, 112, 1)),
    ((672, 160, 2), (960, 160, 1), (960, 160, 1)),
)
_STEM, _LAST = 16, 960


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (before, after); the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """Convolution without bias, padded with zeros by TensorFlow's SAME rule."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
        top, bottom = same_padding(input.shape[-2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(input.shape[-1], self.kernel_size[1], self.stride[1])
        if top or bottom or left or right:
            input = F.pad(input, (left, right, top, bottom))
        return F.conv2d(input, self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BATCH_NORM_EPS)


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3 and a linear 1x1 with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(channels, channels, 3, groups=channels)
        self.bn1 = _norm(channels)
        self.conv_pw = SameConv2d(channels, channels, 1)
        self.bn2 = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        inner = F.relu(self.bn1(self.conv_dw(x)))
        return self.bn2(self.conv_pw(inner)) + x


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, linear projection; residual where the shape stays."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_pw = SameConv2d(inputs, inner, 1)
        self.bn1 = _norm(inner)
        self.conv_dw = SameConv2d(inner, inner, 3, stride, groups=inner)
        self.bn2 = _norm(inner)
        self.conv_pwl = SameConv2d(inner, outputs, 1)
        self.bn3 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H / stride, W / stride)."""
        inner = F.relu(self.bn1(self.conv_pw(x)))
        inner = F.relu(self.bn2(self.conv_dw(inner)))
        result = self.bn3(self.conv_pwl(inner))
        return result + x if self.residual else result


class ConvBlock(nn.Module):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, outputs, 1)
        self.bn1 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H, W)."""
        return F.relu(self.bn1(self.conv(x)))


class Backbone(nn.Module):
    """MobileNetV3-Large minimal up to the last feature map, 1/32 of the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, _STEM, 3, 2)
        self.bn1 = _norm(_STEM)
        stages: list[nn.Module] = [nn.Sequential(DepthwiseSeparable(_STEM))]
        channels = _STEM
        for rows in _STAGES:
            blocks: list[nn.Module] = []
            for inner, outputs, stride in rows:
                blocks.append(InvertedResidual(channels, inner, outputs, stride))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        stages.append(nn.Sequential(ConvBlock(channels, _LAST)))
        self.blocks = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 -> (B, 960, H / 32, W / 32)."""
        return self.blocks(F.relu(self.bn1(self.conv_stem(x))))


class ExpressionNet(nn.Module):
    """Backbone, global mean, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Backbone()
        self.expression_layers = nn.Sequential(nn.Linear(_LAST, RAW_SIZE))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 224, 224) float32 in 0..1 -> (B, 55) raw outputs, see `to_adapter_order`."""
        return self.expression_layers(self.encoder(x).mean(dim=(2, 3)))


def to_adapter_order(raw: Tensor) -> Tensor:
    """Raw outputs (B, 55) to the adapter's numbers (B, 55): expression 50, eyelids 2 in 0..1, jaw 3 in radians.

    The jaw opens only (>= 0); its other two rotations stay within +-0.2.
    """
    return torch.cat(
        [raw[:, :50], raw[:, 50:52].clamp(0, 1), F.relu(raw[:, 52:53]), raw[:, 53:55].clamp(-0.2, 0.2)], dim=1
    )
