"""U-Net trained on SEN12MS with low-resolution labels: the best network of Table IV, and the baseline of Table V.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table IV, and the organisers' baseline code: RMSprop, weight decay 5e-4.
Not told, and chosen here: learning rate (1e-4, without momentum), and what ``published_network`` says of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dfcbench.method import Field, Needs

from .networks.optimisers import OptimiserName
from .published_network import QUICK, PublishedNetworkParams
from .torch_method import TorchMethod

if TYPE_CHECKING:
    from torch import nn


class UNetParams(PublishedNetworkParams):
    """Architecture and optimiser as published; learning rate, batch, crops and number of steps are not, see above."""

    width: int = Field(64, ge=1, description="channels at full resolution; 64 as published")
    optimiser: OptimiserName = Field("rmsprop", description="as published")
    learning_rate: float = Field(1e-4, gt=0, description="at the first step; not published")
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd and rmsprop; not published")


class UNet(TorchMethod):
    """U-Net (64-128-256-512-512, bilinear upsampling) trained on SEN12MS with low-resolution labels."""

    name = "unet"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s2"}), labels="low", training=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table IV; Ronneberger et al., MICCAI 2015"
    Params = UNetParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {**QUICK, "steps": 600, "crop": 64},
    }
    params: UNetParams

    def network(self, channels: int, classes: int) -> nn.Module:
        """The network of the chosen width."""
        from .networks.unet import UNet as Network

        return Network(channels, classes, self.params.width)
