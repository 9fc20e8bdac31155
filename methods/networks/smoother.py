"""The smoothing network: a small stack of convolutions that sees 11 x 11 pixels.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-C: five 3 x 3 convolutions of 64 channels with ReLU, then a
logistic regression per pixel. How it starts is not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Initialisation = Literal["uniform", "he"]


def smoother(
    channels: int, classes: int, width: int = 64, layers: int = 5, initialisation: Initialisation = "uniform"
) -> nn.Sequential:
    """Network from (N, channels, H, W) to logits (N, classes, H, W); borders are continued by reflection.

    ``uniform`` is torch's own start: each convolution with ReLU passes a sixth of its input's mean square on, so five of
    them hardly tell one pixel from another at first. ``he`` keeps it (He et al., ICCV 2015, Eq. 10), biases begin at 0.
    """
    from torch import nn

    stack: list[nn.Module] = []
    for layer in range(layers):
        inputs = channels if layer == 0 else width
        stack += [nn.Conv2d(inputs, width, 3, padding=1, padding_mode="reflect"), nn.ReLU(inplace=True)]
    network = nn.Sequential(*stack, nn.Conv2d(width, classes, 1))
    if initialisation == "he":
        for module in network:
            if isinstance(module, nn.Conv2d):
                rectified = module is not network[-1]
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if rectified else "linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network
