"""The loop that trains every network of the project: live metrics, validation, checkpoints, exact resume.

The batch of a step, and what torch draws in it, depend on the run's seed and the step alone, so a killed training that
goes on from its last checkpoint ends in the same weights as an uninterrupted one on the CPU, whatever the number of
workers. Batches are made ahead in threads, and the share of time spent waiting for them is logged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import UsageError
from dfcbench.method import RunContext
from dfcbench.threads import in_order

from .losses import IGNORED, cross_entropy
from .optimisers import Schedule
from .torch_state import apart, seed_torch, threads

if TYPE_CHECKING:
    import torch
    from torch import nn

Batch = tuple[NDArray[np.float32], NDArray[Any]]
"""Inputs (N, C, H, W), and targets: soft ones (N, classes, H, W), which sum to 1, or to 0 where a pixel is ignored; or
indices (N, H, W), uint8, 255 where a pixel is ignored."""

CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints, at least; more where writing one takes long, so that it takes a small share of the time."""
_CHECKPOINT_SHARE = 0.05
_CLOCK_SECONDS = 5.0
"""Between two notes of the time spent, where a budget limits it."""
_LOG_STEPS = 5


class Score(NamedTuple):
    """What a validation finds, as fractions; ``average_accuracy`` is the mean recall of the classes that occur."""

    accuracy: float
    average_accuracy: float


def train(
    network: nn.Module,
    batch_of: Callable[[int, np.random.Generator], Batch],
    schedule: Schedule,
    run: RunContext,
    name: str,
    validate: Callable[[nn.Module], Score] | None = None,
    class_weights: NDArray[np.floating] | None = None,
) -> nn.Module:
    """Train ``network`` in place on what ``batch_of(step, generator)`` makes; returns it in evaluation mode.

    ``batch_of`` is called in threads, several steps ahead. With ``validate`` the network returned is the best one that
    it saw, else the last. ``class_weights`` (classes,) weigh the loss. ``name`` keeps checkpoints, draws and metrics
    apart from others' of the same run. Logged are ``<name>_loss``, ``_learning_rate``, ``_accuracy`` (of the batch),
    ``_holdout_accuracy``, ``_holdout_average_accuracy``, ``_waiting_share`` and ``_patches_per_second``.
    Raises UsageError if the loss is not finite.
    """
    with threads(schedule.threads), apart(run.device):
        return _Training(network, batch_of, schedule, run, name, validate, class_weights).go()


class _Training:
    def __init__(
        self,
        network: nn.Module,
        batch_of: Callable[[int, np.random.Generator], Batch],
        schedule: Schedule,
        run: RunContext,
        name: str,
        validate: Callable[[nn.Module], Score] | None,
        class_weights: NDArray[np.floating] | None,
    ) -> None:
        import torch

        self.network: nn.Module = network.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batch_of, self.schedule, self.run, self.validate = batch_of, schedule, run, validate
        self.checkpoint, self.metric = name, name.replace("-", "_")
        self.optimiser = schedule.optimiser_of(self.network)
        self.cuda = run.device.startswith("cuda")
        self.mixed = self.cuda and schedule.mixed
        self.half = torch.float16
        if self.mixed and torch.cuda.is_bf16_supported(including_emulation=False):
            self.half = torch.bfloat16
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed and self.half is torch.float16)
        weights = None if class_weights is None else torch.from_numpy(np.asarray(class_weights, np.float32))
        self.class_weights = None if weights is None else weights.to(run.device)
        self.step = 0
        self.best: dict[str, Any] | None = None
        self.misses = 0
        self.spent = 0.0
        self.started = self.noted = self.saved = time.monotonic()
        self.save_cost = 0.0
        self.waiting = self.working = 0.0
        self.shown = 0

    def go(self) -> nn.Module:
        self._restore()
        schedule = self.schedule
        first, name = self.step, self.metric
        if not self._over():
            self.network.train()
            ahead = in_order(self._make, range(first, schedule.steps), max(2, self.run.workers))
            steps = self.run.progress(
                range(first, schedule.steps), label=f"training {self.checkpoint}", total=schedule.steps - first
            )
            with closing(ahead) as batches:
                for step in steps:
                    begin = time.monotonic()
                    inputs, targets = next(batches)
                    self.waiting += time.monotonic() - begin
                    self._learn(step, inputs, targets)
                    self.working += time.monotonic() - begin
                    self.step = step + 1
                    if self.validate and schedule.validate_every and self.step % schedule.validate_every == 0:
                        self._validate()
                    self._keep()
                    if self._over():
                        break
            self._save()
            if self.working:
                share, speed = self.waiting / self.working, self.shown / self.working
                self.run.log({f"{name}_waiting_share": share, f"{name}_patches_per_second": speed}, self.step)
                self.run.message(
                    f"{self.checkpoint}: {speed:.1f} crops/s, {100 * share:.1f} % of the time spent waiting for data"
                )
        self.run.message(f"{self.checkpoint}: training ends at step {self.step} of {schedule.steps}, {self._reason()}")
        return self._chosen()

    def _make(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        inputs, targets = self.batch_of(step, self.run.generator(self.checkpoint, "batch", step))
        x = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
        y = torch.from_numpy(targets)
        return (x.pin_memory(), y.pin_memory()) if self.cuda else (x, y)

    def _learn(self, step: int, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        import torch

        device = self.run.device
        x, y = inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        rate = self.schedule.set_rate(self.optimiser, step)
        seed_torch(self.run.generator(self.checkpoint, "torch", step), device)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", self.half, enabled=self.mixed):
            logits = self.network(x)
        logits = logits.float()
        loss = cross_entropy(logits, y, self.class_weights)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.shown += len(inputs)
        if step % _LOG_STEPS == 0 or step + 1 == self.schedule.steps:
            value = float(loss.detach())
            if not math.isfinite(value):
                raise UsageError(
                    f"{self.checkpoint}: the loss is {value} at step {step}. Lower the learning rate ({rate:.3g}), and "
                    "look for values in the inputs that are not finite."
                )
            values = {"loss": value, "learning_rate": rate}
            if y.ndim == 3 and bool((known := y != IGNORED).any()):
                values["accuracy"] = float((logits.detach().argmax(dim=1) == y)[known].float().mean())
            self.run.log({f"{self.metric}_{key}": value for key, value in values.items()}, step)

    def _validate(self) -> None:
        if self.validate is None:
            return
        self.network.eval()
        score = self.validate(self.network)
        self.network.train()
        found = {"holdout_accuracy": score.accuracy, "holdout_average_accuracy": score.average_accuracy}
        self.run.log({f"{self.metric}_{key}": value for key, value in found.items()}, self.step)
        reached = float(getattr(score, self.schedule.best_by))
        if self.best is None or reached > self.best["score"]:
            weights = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
            self.best = {"score": reached, "step": self.step, "network": weights}
            self.misses = 0
        else:
            self.misses += 1

    def _chosen(self) -> nn.Module:
        """The best network, after a last validation if the last one was a while ago; or the last network."""
        interval = self.schedule.validate_every
        if self.validate and not (self.best and interval and self.step % interval == 0):
            self._validate()
        if self.best is not None:
            self.network.load_state_dict(self.best["network"])
            self.run.message(
                f"{self.checkpoint}: the best network is that of step {self.best['step']}, hold-out "
                f"{self.schedule.best_by.replace('_', ' ')} {100 * self.best['score']:.2f} %"
            )
        return self.network.eval()

    def _elapsed(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _over(self) -> bool:
        return bool(self._reason())

    def _reason(self) -> str:
        """Why training is over; empty if it is not."""
        schedule = self.schedule
        if self.step >= schedule.steps:
            return "as many as asked for"
        if schedule.patience and self.misses >= schedule.patience:
            return f"as {self.misses} validations brought nothing better"
        if schedule.max_minutes and self._elapsed() > 60 * schedule.max_minutes:
            return f"as its {schedule.max_minutes:g} minutes are over"
        return ""

    def _keep(self) -> None:
        """Save a checkpoint, or only the time spent, if it is time to."""
        now = time.monotonic()
        if now - self.saved >= max(CHECKPOINT_SECONDS, self.save_cost / _CHECKPOINT_SHARE):
            self._save()
        elif self.schedule.max_minutes and now - self.noted >= _CLOCK_SECONDS:
            self.noted = now
            self.run.save_checkpoint(f"{self.checkpoint}-clock", self._elapsed())

    def _save(self) -> None:
        begin = time.monotonic()
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self.best,
            "misses": self.misses,
            "elapsed": self._elapsed(),
        }
        self.run.save_checkpoint(self.checkpoint, state)
        self.saved = self.noted = time.monotonic()
        self.save_cost = self.saved - begin

    def _restore(self) -> None:
        clock = self.run.load_checkpoint(f"{self.checkpoint}-clock")
        self.spent = float(clock or 0.0)
        state = self.run.load_checkpoint(self.checkpoint)
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.best, self.misses = int(state["step"]), state["best"], int(state["misses"])
        self.spent = max(self.spent, float(state["elapsed"]))
        self.run.message(f"{self.checkpoint}: training goes on from step {self.step}")
