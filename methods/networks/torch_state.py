"""What torch holds for the whole process, used without leaving a trace: its thread count and its random generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Network = TypeVar("Network", bound="nn.Module")

TRAINING_THREADS = 2
"""Of torch in training on a CPU, unless a parameter says otherwise: what any machine of today has. A number that followed
the machine or the run's workers would make other maps under the same key."""
THREADS_TOLD = "of torch in training on a CPU; in their last digits, sums depend on it"
"""The description of that parameter."""


@contextmanager
def threads(number: int) -> Iterator[None]:
    """That many threads inside torch; the former number afterwards.

    Sums inside torch depend on it, in their last digits: where these matter, it is no matter of the run's workers.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def apart(device: str = "cpu") -> Iterator[None]:
    """What is drawn from torch's global generators inside leaves them as they were."""
    import torch

    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        yield


def seed_torch(generator: np.random.Generator, device: str = "cpu") -> None:
    """Seed torch's global generators of the CPU and the device from ``generator``; only within ``apart``."""
    import torch

    seed = int(generator.integers(2**31))
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def initialised(build: Callable[[], Network], generator: np.random.Generator) -> Network:
    """What ``build`` makes, with weights drawn from ``generator`` and not from torch's global one."""
    with apart():
        seed_torch(generator)
        return build()


def weights_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """A network's parameters and buffers as arrays."""
    return {key: value.detach().cpu().numpy() for key, value in network.state_dict().items()}


def with_weights(network: Network, weights: dict[str, NDArray[Any]], device: str) -> Network:
    """The network with these parameters, on the device, in evaluation mode."""
    import torch

    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
    return network.to(device).eval()
