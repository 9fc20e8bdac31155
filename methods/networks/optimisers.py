"""The optimisers and learning-rate schedules that the contest's networks were trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

OptimiserName = Literal["adamw", "sgd", "rmsprop"]
ScheduleName = Literal["constant", "cosine", "poly"]

POLY_POWER = 0.9
"""Of the schedule ``poly``: Chen et al., arXiv:1706.05587 (2017), Sec. 4.1."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    steps: how many batches. rate: the learning rate at the start; the schedule ``cosine`` lets it fall to 0 along half
    a cosine, ``poly`` as (1 - step / steps) ** 0.9. warm_up: how many first steps have less, rising evenly to the
    schedule's rate. momentum: of ``sgd`` and ``rmsprop``. factors: of the learning rate, by the beginning of parameters'
    names, such as ``{"decoder.": 10}``. validate_every: steps between two validations; 0: none but the last. patience:
    validations without a better result after which training ends; 0: it does not. best_by: which accuracy tells the best
    network. max_minutes: after which training ends, those before a kill included; 0: never. mixed: half precision where
    the device is CUDA. threads: of torch, on the CPU.
    """

    steps: int
    rate: float
    weight_decay: float = 0.0
    optimiser: OptimiserName = "adamw"
    momentum: float = 0.9
    schedule: ScheduleName = "cosine"
    warm_up: int = 0
    factors: Mapping[str, float] = field(default_factory=dict)
    validate_every: int = 0
    patience: int = 0
    best_by: Literal["accuracy", "average_accuracy"] = "accuracy"
    max_minutes: float = 0.0
    mixed: bool = True
    threads: int = 1

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, before factors."""
        rate = self.rate * min(1.0, (step + 1) / (self.warm_up + 1))
        if self.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        if self.schedule == "poly":
            return float(rate * (1 - step / self.steps) ** POLY_POWER)
        return rate

    def optimiser_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser, with a group of parameters for each factor.

        Raises ValueError if a factor's name begins no parameter's.
        """
        from torch import optim

        left = dict(network.named_parameters())
        groups: list[dict[str, Any]] = []
        for prefix, factor in self.factors.items():
            names = [name for name in left if name.startswith(prefix)]
            if not names:
                raise ValueError(f"no parameter of {type(network).__name__} is called {prefix}…")
            groups.append({"params": [left.pop(name) for name in names], "factor": factor})
        if left:
            groups.append({"params": list(left.values()), "factor": 1.0})
        if self.optimiser == "sgd":
            return optim.SGD(groups, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
        if self.optimiser == "rmsprop":
            return optim.RMSprop(groups, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
        return optim.AdamW(groups, lr=self.rate, weight_decay=self.weight_decay)

    def set_rate(self, optimiser: torch.optim.Optimizer, step: int) -> float:
        """Give every group the step's learning rate times its factor; returns it without factors."""
        rate = self.rate_at(step)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        return rate
