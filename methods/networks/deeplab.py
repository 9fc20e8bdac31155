"""DeepLabv3+: a dilated ResNet, atrous spatial pyramid pooling, and a decoder that adds low-level features.

Source: Chen et al., ECCV 2018, with the settings of the contest's baseline code: output stride 16, rates 1, 6, 12, 18
and image pooling, low-level features reduced to 48 channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .resnet import BLOCKS, EXPANSION, ResNet

RATES = (1, 6, 12, 18)
PYRAMID, LOW_LEVEL = 256, 48
"""Channels of the pyramid's branches and of the reduced low-level features, at width 64."""


def _unit(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: four dilated convolutions and the image's mean, merged by a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*_unit(inputs, outputs, 1 if rate == 1 else 3, rate)) for rate in RATES
        )
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_unit(inputs, outputs))
        self.merge = nn.Sequential(*_unit((len(RATES) + 1) * outputs, outputs), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = self.image(x).expand(-1, -1, *x.shape[-2:])
        merged: torch.Tensor = self.merge(torch.cat([*(branch(x) for branch in self.branches), image], dim=1))
        return merged


class Decoder(nn.Module):
    """Pyramid features, four times enlarged, beside reduced low-level features; two convolutions, then the logits."""

    def __init__(self, pyramid: int, low: int, reduced: int, classes: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(*_unit(low, reduced))
        self.refine = nn.Sequential(
            *_unit(pyramid + reduced, pyramid, 3), nn.Dropout(0.5), *_unit(pyramid, pyramid, 3), nn.Dropout(0.1)
        )
        self.classify = nn.Conv2d(pyramid, classes, 1)

    def forward(self, x: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        x = functional.interpolate(x, size=low.shape[-2:], mode="bilinear", align_corners=True)
        logits: torch.Tensor = self.classify(self.refine(torch.cat([x, self.reduce(low)], dim=1)))
        return logits


class DeepLabV3Plus(nn.Module):
    """Images (N, channels, H, W) of any size -> logits (N, classes, H, W).

    ``width`` is that of the backbone, 64 as published; the head's channels shrink with it. In training the batch needs
    at least two images: batch normalisation of the image's mean has one value per image.
    """

    def __init__(self, channels: int, classes: int, backbone: str = "resnet101", width: int = 64) -> None:
        super().__init__()
        pyramid, reduced = max(1, PYRAMID * width // 64), max(1, LOW_LEVEL * width // 64)
        self.backbone = ResNet(channels, BLOCKS[backbone], width)
        self.pyramid = Pyramid(8 * EXPANSION * width, pyramid)
        self.decoder = Decoder(pyramid, EXPANSION * width, reduced, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = self.backbone(x)
        logits = self.decoder(self.pyramid(high), low)
        return functional.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=True)
