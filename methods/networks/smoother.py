"""The smoothing network: a small stack of convolutions that sees 11 x 11 pixels.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-C: five 3 x 3 convolutions of 64 channels with ReLU, then a
logistic regression per pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def smoother(channels: int, classes: int, width: int = 64, layers: int = 5) -> nn.Sequential:
    """Network from (N, channels, H, W) to logits (N, classes, H, W); borders are continued by reflection."""
    from torch import nn

    stack: list[nn.Module] = []
    for layer in range(layers):
        inputs = channels if layer == 0 else width
        stack += [nn.Conv2d(inputs, width, 3, padding=1, padding_mode="reflect"), nn.ReLU(inplace=True)]
    return nn.Sequential(*stack, nn.Conv2d(width, classes, 1))
