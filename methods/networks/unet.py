"""U-Net of the organisers' baseline: double convolutions of 64-128-256-512-512 channels, max-pooling, skips.

Source: Ronneberger et al., MICCAI 2015, in the form of the contest's baseline code (Robinson et al., IEEE JSTARS 14
(2021), Table IV): every 3 x 3 convolution is followed by batch normalisation and ReLU, and upsampling is bilinear.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

STRIDE = 16
"""Four times halved: images are continued to a multiple of this, and the logits cut back."""


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: 3 x 3 convolution, batch normalisation, ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images (N, channels, H, W) of any size -> logits (N, classes, H, W).

    ``width`` is the number of channels at full resolution, 64 as published; the deeper levels have 2, 4, 8, 8 times it.
    """

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        levels = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        inward = zip([channels, *levels[:-1]], levels, strict=True)
        self.down = nn.ModuleList(double_convolution(inputs, outputs) for inputs, outputs in inward)
        outward = [4 * width, 2 * width, width, width]
        below = [levels[-1], *outward[:-1]]
        skips = levels[-2::-1]
        self.up = nn.ModuleList(
            double_convolution(skip + lower, outputs)
            for skip, lower, outputs in zip(skips, below, outward, strict=True)
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        x = functional.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([skips.pop(), x], dim=1))
        logits: torch.Tensor = self.head(x)[..., :height, :width]
        return logits
