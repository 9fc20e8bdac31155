"""U-Net trained on SEN12MS with low-resolution labels: the best network of Table IV, and the baseline of Table V.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table IV, and the organisers' baseline code: RMSprop, weight decay 5e-4.
Not told, and chosen here: learning rate (1e-4, constant, without momentum), batches of 32 whole patches, mirrored, and
20 epochs of 5000 steps, of which the best by the accuracy on the hold-out scenes' labels is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dfcbench.method import Field, Needs

from .torch_method import TorchMethod, TorchParams

if TYPE_CHECKING:
    from torch import nn


class UNetParams(TorchParams):
    """Architecture and optimiser as published; learning rate, batch, crops and number of steps are not, see above."""

    width: int = Field(64, ge=1, description="channels at full resolution; 64 as published")
    steps: int = Field(100_000, ge=1, description="batches at most; not published")
    optimiser: Literal["adamw", "sgd", "rmsprop"] = Field("rmsprop", description="as published")
    learning_rate: float = Field(1e-4, gt=0, description="at the first step; not published")
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd and rmsprop; not published")
    weight_decay: float = Field(5e-4, ge=0, description="as published")
    schedule: Literal["constant", "cosine", "poly"] = Field(
        "constant", description="of the learning rate; not published"
    )
    validate_every: int = Field(5000, ge=0, description="steps between two validations: the organisers' epoch")
    patience: int = Field(5, ge=0, description="validations without a better one after which training ends; 0: never")


class UNet(TorchMethod):
    """U-Net (64-128-256-512-512, bilinear upsampling) trained on SEN12MS with low-resolution labels."""

    name = "unet"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s2"}), labels="low", training=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table IV; Ronneberger et al., MICCAI 2015"
    Params = UNetParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {
            "width": 16,
            "scaling": "moments",
            "steps": 600,
            "batch": 8,
            "crop": 64,
            "optimiser": "adamw",
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "validate_every": 50,
            "validation_patches": 16,
            "patience": 0,
        },
    }
    params: UNetParams

    def network(self, channels: int, classes: int) -> nn.Module:
        """The network of the chosen width."""
        from .networks.unet import UNet as Network

        return Network(channels, classes, self.params.width)
