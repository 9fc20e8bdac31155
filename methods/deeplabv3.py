"""DeepLabv3+ trained on SEN12MS with low-resolution labels.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table IV, and the organisers' baseline code: ResNet-101 at output stride
16, SGD with momentum 0.9, weight decay 5e-4, learning rate 1e-3 and ten times that in the decoder (here: pyramid and
decoder), batches of 32, epochs of 5000 steps, ImageNet weights at the start. No weights come with dfcbench: without
``backbone_weights`` the start is random. What is not told is chosen as ``published_network`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dfcbench.errors import UsageError
from dfcbench.method import Field, Needs

from .networks.optimisers import OptimiserName
from .published_network import QUICK, PublishedNetworkParams
from .torch_method import TorchMethod

if TYPE_CHECKING:
    from torch import nn


class DeepLabParams(PublishedNetworkParams):
    """Architecture and optimiser as published; schedule, crops and number of steps are not, see above."""

    backbone: Literal["resnet50", "resnet101"] = Field("resnet101", description="resnet101 as published")
    width: int = Field(64, ge=1, description="of the backbone; 64 as published, and the head shrinks with it")
    backbone_weights: str = Field("", description="file of the backbone's ImageNet weights, named as torchvision's")
    backbone_weights_digest: str = Field("", description="of the content of that file; filled in by itself")
    head_factor: float = Field(10.0, gt=0, description="of the learning rate, in pyramid and decoder")
    optimiser: OptimiserName = Field("sgd", description="as published: sgd with momentum")
    learning_rate: float = Field(1e-3, gt=0, description="of the backbone, as published")
    momentum: float = Field(0.9, ge=0, lt=1, description="as published")


class DeepLabV3(TorchMethod):
    """DeepLabv3+ (ResNet, output stride 16, rates 1/6/12/18) trained on SEN12MS with low-resolution labels."""

    name = "deeplabv3"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s2"}), labels="low", training=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table IV; Chen et al., ECCV 2018"
    Params = DeepLabParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {**QUICK, "backbone": "resnet50", "head_factor": 1.0, "jitter": 0.25, "steps": 1000, "crop": 96},
    }
    params: DeepLabParams

    def network(self, channels: int, classes: int) -> nn.Module:
        """The network with the chosen backbone."""
        from .networks.deeplab import DeepLabV3Plus

        return DeepLabV3Plus(channels, classes, self.params.backbone, self.params.width)

    def rate_factors(self) -> Mapping[str, float]:
        """The head, which starts at random, learns faster than the backbone."""
        return {"pyramid.": self.params.head_factor, "decoder.": self.params.head_factor}

    def start(self, network: nn.Module) -> None:
        """The whole network's weights if there are some, else the backbone's."""
        from .networks.resnet import ResNet, load_imagenet
        from .networks.weight_files import read_weights

        path = self.params.backbone_weights
        if path and not self.params.weights:
            backbone = getattr(network, "backbone", None)
            if not isinstance(backbone, ResNet):
                raise UsageError(
                    f"{self.name}: backbone_weights {path} are for a ResNet, and {type(network).__name__} has none as its "
                    "backbone. Leave backbone_weights out, or give weights of the whole network."
                )
            load_imagenet(backbone, read_weights(path), path)
        super().start(network)
