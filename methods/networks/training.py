"""The loop that trains a network: AdamW with a cosine schedule, live loss, checkpoints, exact resume.

The batch of a step depends on the run's seed and the step alone, so a killed training that goes on from its last
checkpoint ends in the same weights as an uninterrupted one, on the CPU and with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import RunContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import nn

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Inputs (N, C, H, W) and soft targets (N, classes, H, W), which sum to 1, or to 0 where a pixel is ignored."""

_CHECKPOINT_STEPS = 25
_LOG_STEPS = 5


@dataclass(frozen=True)
class Schedule:
    """steps: how many batches. rate: the learning rate at the start, which falls to 0 along a half cosine."""

    steps: int
    rate: float
    weight_decay: float


def train(
    network: nn.Module,
    batch_of: Callable[[int, np.random.Generator], Batch],
    schedule: Schedule,
    run: RunContext,
    name: str,
) -> nn.Module:
    """Train ``network`` in place on what ``batch_of(step, generator)`` makes; returns it in evaluation mode.

    The loss is the mean cross-entropy with the soft targets over the pixels that have one; it is logged as
    ``<name>_loss``. ``name`` keeps the checkpoint and the draws apart from others' of the same run.
    """
    import torch

    with threads(run):
        network = network.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=schedule.weight_decay)
        first = _restore(network, optimiser, run, name)
        network.train()
        for step in run.progress(range(first, schedule.steps), label=f"training {name}", total=schedule.steps - first):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
            inputs, targets = batch_of(step, run.generator(name, "batch", step))
            x = torch.from_numpy(inputs).to(run.device, memory_format=torch.channels_last)
            loss = soft_cross_entropy(network(x), torch.from_numpy(targets).to(run.device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if step % _LOG_STEPS == 0 or step + 1 == schedule.steps:
                run.log({f"{name}_loss": float(loss.detach())}, step)
            if (step + 1) % _CHECKPOINT_STEPS == 0:
                state = {"step": step + 1, "network": network.state_dict(), "optimiser": optimiser.state_dict()}
                run.save_checkpoint(name, state)
        return network.eval()


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels with a target of - sum_c target log softmax(logits)."""
    mass = targets.sum()
    loss: torch.Tensor = -(targets * logits.log_softmax(dim=1)).sum() / mass.clamp(min=1.0)
    return loss


def weights_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """A network's parameters and buffers as arrays."""
    return {key: value.detach().cpu().numpy() for key, value in network.state_dict().items()}


def with_weights(network: nn.Module, weights: dict[str, NDArray[Any]], device: str) -> nn.Module:
    """The network with these parameters, on the device, in evaluation mode."""
    import torch

    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
    return network.to(device).eval()


@contextmanager
def threads(run: RunContext) -> Iterator[None]:
    """As many threads inside torch as the run has workers, and the former number afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(run.workers)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _restore(network: nn.Module, optimiser: torch.optim.Optimizer, run: RunContext, name: str) -> int:
    state = run.load_checkpoint(name)
    if state is None:
        return 0
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
