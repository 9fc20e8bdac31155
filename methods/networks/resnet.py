"""ResNet-50 and ResNet-101 without their classifier, dilated for output stride 16.

Sources: He et al., CVPR 2016 (bottleneck blocks; the stride is in the 3 x 3 convolution, as in the later common form);
Chen et al., arXiv:1706.05587 (2017), Sec. 3: at output stride 16 the last stage keeps its resolution, and its three
blocks are dilated by 2 times the multi-grid 1, 2, 4. Parameters are named as in torchvision's state dicts, so that
files of ImageNet weights fit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from .weight_files import load_into

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Bottleneck blocks in each of the four stages."""
EXPANSION = 4
"""A stage's outputs are so many times its inner channels."""
MULTI_GRID = (1, 2, 4)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, inner: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = EXPANSION * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        added: torch.Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return added


class ResNet(nn.Module):
    """Images (N, channels, H, W) -> features (N, 4 width, H/4, W/4) of the first stage, (N, 32 width, H/16, W/16) of
    the last; sizes are rounded up. ``width`` is 64 as published."""

    def __init__(self, channels: int, blocks: tuple[int, ...], width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        first = EXPANSION * width
        self.layer1 = _stage(width, width, [1] * blocks[0], stride=1)
        self.layer2 = _stage(first, 2 * width, [1] * blocks[1], stride=2)
        self.layer3 = _stage(2 * first, 4 * width, [1] * blocks[2], stride=2)
        self.layer4 = _stage(4 * first, 8 * width, [2 * grid for grid in MULTI_GRID[: blocks[3]]], stride=1)
        for module in self.modules():  # He et al., ICCV 2015, as for the published ResNets
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


def _stage(inputs: int, inner: int, dilations: list[int], stride: int) -> nn.Sequential:
    """One block per dilation; the first one has the stride."""
    return nn.Sequential(
        *(
            Bottleneck(EXPANSION * inner if i else inputs, inner, 1 if i else stride, dilation)
            for i, dilation in enumerate(dilations)
        )
    )


def load_imagenet(backbone: ResNet, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Give the backbone the weights of a whole ResNet; those of its classifier are left out.

    Where the first convolution has another number of inputs, each band takes the mean of the file's kernels over its
    colours, scaled so that equal inputs give what they gave. Raises UsageError if the weights do not fit.
    """
    kept = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    first, own = kept.get("conv1.weight"), backbone.conv1.weight
    if first is not None and first.ndim == own.ndim and first.shape[1] != own.shape[1]:
        shared = first.mean(dim=1, keepdim=True) * first.shape[1] / own.shape[1]
        kept["conv1.weight"] = shared.expand(-1, own.shape[1], -1, -1).contiguous()
    load_into(backbone, kept, where)
