"""Neural smoothing: a small network fitted to the ensemble's output, which it reproduces without its noise.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-C. Fitted on the very images that are scored, then applied to
them; Table VI also tells what the network fitted on the validation images does on the test images. The optimiser and
its constants are not told; the defaults are those of a sibling project of the authors (AdamW, 1e-3, batches of 32
chips, 50 epochs). What a chip is, is not told either: here 128 x 128 pixels.

The preset ``quick`` was chosen by the cross-entropy to the ensemble on images left out of the fit, which needs no label,
at equal numbers of pixels. Pixels of a chip say nearly the same, so few small chips a step, and more steps, come nearer
than large batches; and He's start with a warm-up comes nearer than torch's start without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any, ClassVar, Literal

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from dfcbench.method import (
    Contest,
    Field,
    Method,
    Needs,
    Params,
    Part,
    PartMaps,
    Patch,
    PatchSet,
    Prediction,
    RunContext,
)
from dfcbench.scheme import SCORED_CODES

from .channels import CHANNELS, WHOLE, ChannelNames, Channels, inputs_of
from .networks.data import moments
from .networks.optimisers import Schedule
from .networks.smoother import Initialisation, smoother
from .networks.torch_state import THREADS_TOLD, TRAINING_THREADS, initialised, threads, weights_of, with_weights
from .networks.training import train

_KEPT_BYTES = 512 * 2**20
"""Of the ensemble's probabilities, in memory at most: 512 patches of 256 x 256 pixels."""


class SmoothingParams(Params):
    """Architecture as published; training constants of a sibling project."""

    ensemble: str = Field("track1-ensemble", description="whose output is smoothed: a method, or a finished submission")
    fitted_on: Literal["scored", "validation"] = Field("scored", description="images that the network is fitted on")
    targets: Literal["soft", "hard"] = Field("soft", description="probabilities of the ensemble, or its labels")
    channels: ChannelNames = Field(CHANNELS, description="bands by name, as a list or joined by commas")
    width: int = Field(64, ge=1, description="channels of each 3 x 3 convolution")
    layers: int = Field(5, ge=1, description="3 x 3 convolutions; 5 see 11 x 11 pixels")
    epochs: float = Field(50, gt=0, description="how often the pixels of all images are seen, on average")
    most_steps: int = Field(0, ge=0, description="batches at most; 0: as many as the epochs take")
    chip: int = Field(
        128, ge=8, description="side of the training chips, in pixels; in small ones fewer repeat each other"
    )
    batch: int = Field(32, ge=1, description="chips in a batch; fewer make more steps of as many pixels")
    initialisation: Initialisation = Field(
        "uniform",
        description="torch's start, which damps signals layer by layer; or he, which keeps them and learns sooner",
    )
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, falling to 0 along a half cosine")
    warm_up: float = Field(
        0,
        ge=0,
        lt=1,
        description="share of the steps over which the rate rises: AdamW's first steps, on few gradients, err",
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; torch's default")
    threads: int = Field(TRAINING_THREADS, ge=1, description=THREADS_TOLD)


class NeuralSmoothing(Method):
    """Neural smoothing: a network of 11 x 11 pixels' sight, fitted to the ensemble's output on the scored images."""

    name = "neural-smoothing"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="none", transductive=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-C; team calebrob6"
    Params = SmoothingParams
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {},
        "quick": {
            "most_steps": 2000,
            "chip": 32,
            "batch": 4,
            "initialisation": "he",
            "learning_rate": 2e-3,
            "warm_up": 0.1,
        },
    }
    params: SmoothingParams

    def requires(self) -> Needs:
        """Fitted on the validation images, by another run, it is not transductive on others."""
        fitted_here = self.params.fitted_on == "scored"
        return Needs(inputs=inputs_of(self.params.channels), labels="none", transductive=fitted_here)

    def parts(self) -> Mapping[str, Part]:
        """The ensemble on the scored images; or the run whose network was fitted on the validation images."""
        if self.params.fitted_on == "scored":
            return {"ensemble": Part(self.params.ensemble)}
        same = {**self.params.model_dump(mode="json"), "fitted_on": "scored"}
        return {"fitted": Part(self.name, same, split="validation")}

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``mean_`` and ``deviation_`` (C,) of the inputs, and the network's ``weights_``."""
        params = self.params
        if params.fitted_on == "validation":
            self.load(run.parts["fitted"].learned)
            return
        patches = contest.target
        self.mean_, self.deviation_ = moments(
            patches, Channels(params.channels), run, run.generator("smoothing", "sample")
        )
        size = min(params.chip, int(patches.shapes.min()))
        steps = max(1, round(params.epochs * float(patches.shapes.prod(axis=1).sum()) / (params.batch * size**2)))
        if params.most_steps:
            steps = min(steps, params.most_steps)
        chips = _Chips(patches, self._scaled, run.parts["ensemble"], size, params.batch, params.targets == "hard")
        network = self._network(run.generator("smoothing", "weights"))
        schedule = Schedule(
            steps,
            params.learning_rate,
            params.weight_decay,
            warm_up=round(params.warm_up * steps),
            threads=params.threads,
        )
        train(network, chips, schedule, run, "smoothing")
        self.weights_ = weights_of(network)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Class probabilities of each patch."""
        import torch

        network = with_weights(self._network(run.generator("smoothing", "weights")), self.weights_, run.device)

        def one(patch: Patch) -> Prediction:
            x = torch.from_numpy(self._scaled(patch)[np.newaxis]).to(run.device)
            with torch.inference_mode():
                return Prediction(patch.id, network(x).softmax(dim=1)[0].cpu().numpy())

        with threads(1):  # threads over patches scale, threads inside one do not
            yield from run.map(one, patches)

    def _scaled(self, patch: Patch, window: tuple[slice, slice] = WHOLE) -> NDArray[np.float32]:
        x = Channels(self.params.channels)(patch, window)
        scaled: NDArray[np.float32] = (x - self.mean_[:, None, None]) / self.deviation_[:, None, None]
        return scaled

    def _network(self, generator: np.random.Generator) -> Any:
        """The network with weights drawn from ``generator``, not from torch's global one."""
        params = self.params
        return initialised(
            lambda: smoother(
                len(params.channels), len(SCORED_CODES), params.width, params.layers, params.initialisation
            ),
            generator,
        )


class _Chips:
    """Batches of square chips of the images, each mirrored or not, with the ensemble's output as targets.

    The probabilities of the patches used last stay in memory: reading them takes longer than a chip is worth.
    """

    def __init__(
        self,
        patches: PatchSet,
        scaled: Callable[[Patch, tuple[slice, slice]], NDArray[np.float32]],
        ensemble: PartMaps,
        size: int,
        batch: int,
        hard: bool,
    ) -> None:
        self.patches, self.scaled, self.size, self.batch, self.hard = patches, scaled, size, batch, hard
        kept: LRUCache[Any, NDArray[np.float16]] = LRUCache(_KEPT_BYTES, getsizeof=lambda values: values.nbytes)
        self.probabilities = cached(kept, lock=Lock())(lambda patch_id: _half(ensemble.probabilities(patch_id)))

    def __call__(self, step: int, generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A batch of the step, drawn by ``generator``: inputs (N, C, S, S), targets (N, 8, S, S)."""
        inputs, targets = [], []
        for index in generator.integers(len(self.patches), size=self.batch):
            patch = self.patches[int(index)]
            p = self.probabilities(patch.id)
            down, right, turn = generator.random(3)
            row, column = (
                int(share * (n - self.size + 1)) for share, n in zip((down, right), p.shape[1:], strict=True)
            )
            window = (slice(row, row + self.size), slice(column, column + self.size))
            mirrored = slice(None, None, -1 if turn < 0.5 else 1)
            inputs.append(self.scaled(patch, window)[:, mirrored])
            targets.append(p[:, *window][:, mirrored])
        stacked = np.stack(targets).astype(np.float32)
        if self.hard:
            stacked = np.moveaxis(np.eye(len(SCORED_CODES), dtype=np.float32)[stacked.argmax(axis=1)], -1, 1)
        return np.stack(inputs), np.ascontiguousarray(stacked)


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return values.astype(np.float16)
