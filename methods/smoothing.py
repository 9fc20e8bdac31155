"""Neural smoothing: a small network fitted to the ensemble's output, which it reproduces without its noise.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-C. Fitted on the very images that are scored, then applied to
them; Table VI also tells what the network fitted on the validation images does on the test images. The optimiser and
its constants are not told; the defaults are those of a sibling project of the authors (AdamW, 1e-3, batches of 32
chips, 50 epochs). What a chip is, is not told either: here 128 x 128 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Contest, Field, Method, Needs, Params, Part, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import SCORED_CODES

from .channels import CHANNELS, ChannelNames, Channels, inputs_of
from .networks.optimisers import Schedule
from .networks.smoother import smoother
from .networks.torch_state import initialised, threads, weights_of, with_weights
from .networks.training import train

_SAMPLE_PATCHES = 64
"""Patches whose pixels set the mean and deviation of the inputs."""


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
    chip: int = Field(128, ge=8, description="side of the training chips, in pixels")
    batch: int = Field(32, ge=1, description="chips in a batch")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, falling to 0 along a half cosine")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; torch's default")


class NeuralSmoothing(Method):
    """Neural smoothing: a network of 11 x 11 pixels' sight, fitted to the ensemble's output on the scored images."""

    name = "neural-smoothing"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="none", transductive=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-C; team calebrob6"
    Params = SmoothingParams
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {},
        "quick": {"most_steps": 400, "chip": 48, "batch": 16, "learning_rate": 4e-3},
    }
    params: SmoothingParams

    def requires(self) -> Needs:
        """Fitted on the validation images, it is not transductive on others."""
        fitted_here = self.params.fitted_on == "scored"
        return Needs(inputs=inputs_of(self.params.channels), labels="none", transductive=fitted_here)

    def parts(self) -> Mapping[str, Part]:
        """The ensemble on the images that the network is fitted on."""
        split = "validation" if self.params.fitted_on == "validation" else None
        return {"ensemble": Part(self.params.ensemble, split=split)}

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``mean_`` and ``deviation_`` (C,) of the inputs, and the network's ``weights_``."""
        params = self.params
        patches = contest.target if params.fitted_on == "scored" else contest.validation
        read = Channels(params.channels)
        chosen = patches.subset(_SAMPLE_PATCHES, run.generator("smoothing", "sample"))
        pixels = np.concatenate([x.reshape(len(x), -1)[:, ::16] for x in run.map(read, chosen)], axis=1)
        self.mean_ = pixels.mean(axis=1, dtype=np.float64).astype(np.float32)
        self.deviation_ = np.maximum(pixels.std(axis=1, dtype=np.float64), 1e-4).astype(np.float32)
        total = float(patches.shapes.prod(axis=1).sum())
        size = min(params.chip, int(patches.shapes.min()))
        steps = max(1, round(params.epochs * total / (params.batch * size**2)))
        if params.most_steps:
            steps = min(steps, params.most_steps)
        network = self._network(run.generator("smoothing", "weights"))
        ensemble = run.parts["ensemble"]

        def batch_of(step: int, generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            draws = [
                (patches[int(i)], generator.random(3)) for i in generator.integers(len(patches), size=params.batch)
            ]

            def chip(draw: tuple[Patch, NDArray[np.float64]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
                patch, (down, right, turn) = draw
                x, p = self._scaled(read(patch)), ensemble.probabilities(patch.id)
                row, column = (int(share * (n - size + 1)) for share, n in zip((down, right), p.shape[1:], strict=True))
                window = (slice(None), slice(row, row + size), slice(column, column + size))
                flips = (slice(None), slice(None, None, -1 if turn < 0.5 else 1), slice(None))
                return x[window][flips], p[window][flips]

            inputs, targets = zip(*map(chip, draws), strict=True)
            stacked = np.stack(targets)
            if params.targets == "hard":
                stacked = np.moveaxis(np.eye(len(SCORED_CODES), dtype=np.float32)[stacked.argmax(axis=1)], -1, 1)
            return np.stack(inputs), np.ascontiguousarray(stacked)

        train(network, batch_of, Schedule(steps, params.learning_rate, params.weight_decay), run, "smoothing")
        self.weights_ = weights_of(network)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Class probabilities of each patch."""
        import torch

        network = with_weights(self._network(run.generator("smoothing", "weights")), self.weights_, run.device)
        read = Channels(self.params.channels)
        with torch.inference_mode(), threads(run):
            for patch in patches:
                x = torch.from_numpy(self._scaled(read(patch))[np.newaxis]).to(run.device)
                yield Prediction(patch.id, network(x).softmax(dim=1)[0].cpu().numpy())

    def _scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (x - self.mean_[:, None, None]) / self.deviation_[:, None, None]
        return scaled

    def _network(self, generator: np.random.Generator) -> Any:
        """The network with weights drawn from ``generator``, not from torch's global one."""
        params = self.params
        return initialised(
            lambda: smoother(len(params.channels), len(SCORED_CODES), params.width, params.layers), generator
        )
