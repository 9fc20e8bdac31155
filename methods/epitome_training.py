"""Training of an epitome by stochastic gradient ascent on the likelihood of random windows.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV; constants that the paper does not print are those of the
authors' published code for epitomes. Two devices make an epitome cover the data: self-diversification (each step learns
from the worst-modelled windows of its batch) and posterior regularisation (positions in use rest until nearly all have
been used). How much use bars a position is not published; here it is half a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import RunContext

from .epitome_model import EpitomeModel

if TYPE_CHECKING:
    import torch

INITIAL_MEAN = (0.5, 0.6)
INITIAL_PRECISION = 10.0
PRECISION_RANGE = (1.0, 100.0)
LOGIT_RANGE = (-4.0, 4.0)
SHARPNESS = 11.0
"""Log-likelihoods are divided by (w / 11)^2, whatever the window w: as if windows were of 11 x 11 pixels."""
KEPT = 0.25
"""Share of a batch, its worst-modelled windows, that a step learns from."""
BAR = 10_000.0
"""Subtracted from the energy of barred positions."""
RESET = 0.95
"""Share of positions in use that lifts all bars."""
IN_USE = 0.5
"""Windows that a position has to take, in sum of posteriors, to count as used. (Not published.)"""
POOL_BATCHES = 32
"""Batches drawn together from the same images."""
POOL_IMAGES = 64
"""Images that such a pool is drawn from at most."""
CHECKPOINT_BATCHES = 100
LOG_BATCHES = 10

Windows = Callable[[int, int, np.random.Generator], NDArray[np.float32]]
"""(number of windows, number of images, generator) -> windows (n, C, w, w), in random order."""


@dataclass(frozen=True)
class Training:
    """What training is told: E, w, C, channel weights (C,), batches, their size, Adam's learning rates, torch's threads."""

    size: int
    window: int
    channels: int
    weights: tuple[float, ...]
    batches: int = 10_000
    batch_size: int = 256
    learning_rate: float = 0.003
    precision_rate: float = 0.003
    threads: int = 1

    @property
    def temperature(self) -> float:
        """Divisor of the log-likelihood."""
        return (self.window / SHARPNESS) ** 2


class Trainer:
    """The epitome in torch, with its optimiser and the count of what is in use."""

    def __init__(self, settings: Training, run: RunContext) -> None:
        import torch

        self.settings = settings
        self.device = torch.device(run.device)
        shape = (settings.channels, settings.size, settings.size)
        start = run.generator("epitome", "start").uniform(*INITIAL_MEAN, shape).astype(np.float32)
        self.mean = torch.tensor(start, device=self.device, requires_grad=True)
        self.precision = torch.full(shape, INITIAL_PRECISION, device=self.device, requires_grad=True)
        self.logit = torch.zeros(shape[1:], device=self.device, requires_grad=True)
        self.use = torch.zeros(shape[1:], device=self.device)
        self.weights = torch.tensor(settings.weights, dtype=torch.float32, device=self.device)[:, None, None]
        self.optimiser = torch.optim.Adam(
            [
                {"params": [self.mean, self.logit], "lr": settings.learning_rate},
                {"params": [self.precision], "lr": settings.precision_rate},
            ]
        )
        self.done = 0

    def energies(self, x: torch.Tensor) -> torch.Tensor:
        """log p(x, u) / T for windows x (n, C, w, w): (n, E, E)."""
        return energies(self.mean, self.precision, self.logit, x, self.weights, self.settings.temperature)

    def step(self, x: torch.Tensor) -> float:
        """Learn from a batch of windows (n, C, w, w); returns the mean log-likelihood of all of them, per pixel."""
        import torch

        with torch.no_grad():
            evidence = torch.logsumexp(self.energies(x).flatten(1), dim=1)
            worst = torch.topk(evidence, max(1, round(KEPT * len(x))), largest=False).indices
        bars = BAR * (self.use >= IN_USE)
        energy = (self.energies(x[worst]) - bars).flatten(1)
        loss = -torch.logsumexp(energy, dim=1).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.precision.clamp_(*PRECISION_RANGE)
            self.logit -= self.logit.mean()
            self.logit.clamp_(*LOGIT_RANGE)
            self.use += torch.softmax(energy, dim=1).sum(dim=0).reshape(self.use.shape)
            if float((self.use >= IN_USE).float().mean()) >= RESET:
                self.use.zero_()
        self.done += 1
        return float(evidence.mean()) * self.settings.temperature / self.settings.window**2

    def model(self) -> EpitomeModel:
        """The epitome as it stands."""
        arrays = [tensor.detach().cpu().numpy().copy() for tensor in (self.mean, self.precision, self.logit)]
        return EpitomeModel(arrays[0], arrays[1], arrays[2], self.settings.window)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; batches are drawn by number, so no generator is part of it."""
        tensors = {name: getattr(self, name).detach().cpu() for name in ("mean", "precision", "logit", "use")}
        return {**tensors, "optimiser": self.optimiser.state_dict(), "done": self.done}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a ``state``."""
        import torch

        with torch.no_grad():
            for name in ("mean", "precision", "logit", "use"):
                getattr(self, name).copy_(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]


def energies(
    mean: torch.Tensor,
    precision: torch.Tensor,
    logit: torch.Tensor,
    x: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """log p(x, u) / T of separate windows x (n, C, w, w), by one convolution over the torus: (n, E, E).

    mean, precision (C, E, E); logit (E, E); weights (C, 1, 1). The convolution is the matrix product of windows and
    unfolded epitome, 2 C w^2 multiplications per window and position, without the unfolded copy.
    """
    import torch
    import torch.nn.functional as functional

    radius = x.shape[-1] // 2
    centre = mean.detach().mean(dim=(1, 2), keepdim=True)
    offset, scaled = mean - centre, precision * weights
    position = (0.5 * weights * torch.log(precision / (2 * torch.pi)) - 0.5 * scaled * offset**2).sum(dim=0)
    maps = torch.cat([-0.5 * scaled, scaled * offset])
    d = x - centre
    kernels = torch.cat([d * d, d], dim=1)
    maps = functional.pad(maps[None], (radius,) * 4, mode="circular")
    position = functional.pad(position[None, None], (radius,) * 4, mode="circular")
    box = torch.ones_like(position[..., : x.shape[-1], : x.shape[-1]])
    with full_precision():
        log_likelihood = functional.conv2d(maps, kernels) + functional.conv2d(position, box)
    log_prior = torch.log_softmax(logit.flatten(), dim=0).reshape(logit.shape)
    return (log_likelihood[0] + log_prior) / temperature


def full_precision() -> Any:
    """Context in which convolutions on CUDA keep all 24 bits: the expanded square cancels too much for TF32's 11."""
    import torch

    return torch.backends.cudnn.flags(allow_tf32=False)


def train(settings: Training, windows: Windows, run: RunContext) -> EpitomeModel:
    """Train an epitome, reporting its likelihood; goes on from the last checkpoint of this run, if there is one."""
    import torch

    from .networks.torch_state import threads

    trainer = Trainer(settings, run)
    saved = run.load_checkpoint("epitome")
    if saved is not None:
        trainer.restore(saved)
    with threads(settings.threads):
        likelihoods: list[float] = []
        batches = _batches(settings, trainer.done, windows, run)
        for x in run.progress(batches, label="training", total=settings.batches - trainer.done):
            likelihoods.append(trainer.step(torch.from_numpy(x).to(trainer.device)))
            if trainer.done % LOG_BATCHES == 0 or trainer.done == settings.batches:
                run.log({"epitome_log_likelihood": float(np.mean(likelihoods))}, step=trainer.done)
                likelihoods.clear()
            if trainer.done % CHECKPOINT_BATCHES == 0 or trainer.done == settings.batches:
                run.save_checkpoint("epitome", trainer.state())
    return trainer.model()


def _batches(settings: Training, done: int, windows: Windows, run: RunContext) -> Iterator[NDArray[np.float32]]:
    """Batches by number: the pool that a batch is cut from depends on the run's seed and the pool's number alone."""
    while done < settings.batches:
        number, first = divmod(done, POOL_BATCHES)
        generator = run.generator("epitome", "pool", number)
        pool = windows(POOL_BATCHES * settings.batch_size, POOL_IMAGES, generator)
        for batch in range(first, min(POOL_BATCHES, settings.batches - number * POOL_BATCHES)):
            yield pool[batch * settings.batch_size : (batch + 1) * settings.batch_size]
            done += 1
