"""What the networks of Table IV share: the organisers' optimisation, as far as it is told, and a small form for the demo.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table IV, and the organisers' baseline code: weight decay 5e-4 and epochs of
5000 steps. Not told, and chosen here: a constant learning rate, batches of 32 whole patches, mirrored, and 20 epochs, of
which the best by the accuracy on the hold-out scenes' labels is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfcbench.method import Field

from .networks.optimisers import ScheduleName
from .torch_method import TorchParams


class PublishedNetworkParams(TorchParams):
    """Training of a network of Table IV; optimiser, learning rate and momentum are the network's own."""

    steps: int = Field(100_000, ge=1, description="batches at most; not published")
    weight_decay: float = Field(5e-4, ge=0, description="as published")
    schedule: ScheduleName = Field("constant", description="of the learning rate; not published")
    validate_every: int = Field(5000, ge=0, description="steps between two validations: the organisers' epoch")
    patience: int = Field(5, ge=0, description="validations without a better one after which training ends; 0: never")


QUICK: Mapping[str, Any] = {
    "width": 16,
    "scaling": "moments",
    "batch": 8,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "class_weights": "root",
    "best_by": "average_accuracy",
    "validate_every": 50,
    "validation_patches": 16,
    "patience": 0,
}
"""The preset for the demo, but for what is the network's own: a quarter as wide, smaller batches, and an optimiser that
gets somewhere in some hundred steps. Within those, an unweighted network learns the frequent classes alone, and the score
counts classes alike: so rare ones weigh more, and the network that does best by average accuracy is kept."""
