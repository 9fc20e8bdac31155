"""Epitome: a small torus of Gaussians in which windows of the images find themselves, labelled through the prior alone.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV; constants that the paper does not print are those of the
authors' published code for epitomes. Not known, and therefore parameters: the channels, their scaling and weights, the
temperature of the posterior at prediction, and whether labels are read at the centre of a window or all over it.

``epitome_training`` fits the torus, ``epitome_likelihood`` finds windows in it, ``epitome_labels`` labels it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from dfcbench.errors import UsageError
from dfcbench.method import Contest, Field, Method, Needs, Params, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import CODES, SCORED_CODES

from .channels import CHANNELS, ChannelNames, Channels, ChannelWeights, inputs_of
from .epitome_labels import class_positions, label_em
from .epitome_model import EpitomeModel
from .label_prior import SMOOTHING, smoothed_prior
from .networks.torch_state import THREADS_TOLD, TRAINING_THREADS
from .windows import Side

if TYPE_CHECKING:
    from .epitome_likelihood import Dense
    from .epitome_torch import TorchDense

SCALING_PIXELS = 100_000
"""Pixels whose percentiles set the scaling, from up to ``SCALING_IMAGES`` images."""
SCALING_IMAGES = 128
TILE = 16
"""Windows are sampled for the label embedding by tiles of 16 x 16, of which the dense form makes short work."""


class EpitomeParams(Params):
    """Defaults are the published constants where there are any."""

    size: int = Field(299, ge=2, description="E: the epitome is a torus of E x E positions")
    window: Side = Field(7, ge=1, description="side of the windows in pixels, odd")
    channels: ChannelNames = Field(CHANNELS, description="bands by name (VV, VH, B1 ... B12), joined by commas")
    weights: ChannelWeights = Field(
        {"VV": 0.5, "VH": 0.5},
        description="of the bands' log-likelihoods, such as VV=0.5,VH=0.5; 1 where none is given",
    )
    stretch: float = Field(
        1.0,
        ge=0,
        lt=50,
        description="percent of pixels cut off at either end when a band is stretched to [0, 1]; 0: fixed ranges instead",
    )
    batches: int = Field(10_000, ge=1, description="steps of training")
    batch_size: int = Field(256, ge=1, description="windows in a batch; the worst-modelled quarter is learned from")
    learning_rate: float = Field(0.003, gt=0, description="of Adam")
    precision_rate: float = Field(0.003, gt=0, description="of Adam for the inverse variances, which run from 1 to 100")
    threads: int = Field(TRAINING_THREADS, ge=1, description=THREADS_TOLD)
    embedding_windows: int = Field(200_000, ge=1, description="windows sampled for the label embedding")
    positions: Literal["balanced", "observed"] = Field(
        "balanced", description="p(u|c): positions weighted alike, as published, or by how often they are used"
    )
    label_iterations: int = Field(30, ge=1, description="of expectation maximisation for p(l|u)")
    prior_smoothing: float = Field(SMOOTHING, ge=0, description="added to every cell of p(HR | LR)")
    embedding_temperature: float = Field(
        1.0, gt=0, description="of posteriors in the label embedding; at 1 log-likelihoods are means over the window"
    )
    temperature: float = Field(
        0.2, gt=0, description="of posteriors at prediction; at 1 log-likelihoods are means over the window"
    )
    prediction: Literal["window", "centre"] = Field(
        "window", description="labels from all windows over a pixel, or from the one around it (about 2.5 times faster)"
    )

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.size < self.window:
            raise ValueError(f"an epitome of size {self.size} has no room for windows of {self.window}")
        return self


class Stretched:
    """The chosen channels of a patch in [0, 1], float32 (C, H, W): linear between limits (2, C), clipped outside."""

    def __init__(self, names: tuple[str, ...], limits: NDArray[np.float32] | None) -> None:
        self.channels = Channels(names)
        self.limits = limits

    def __call__(self, patch: Patch) -> NDArray[np.float32]:
        x = self.channels(patch)
        if self.limits is None:
            return x
        low, high = self.limits[:, :, None, None]
        stretched: NDArray[np.float32] = np.clip((x - low) / (high - low), np.float32(0), np.float32(1))
        return stretched


class Epitome(Method):
    """Epitome of the scored images: 7 x 7 windows matched on a torus of Gaussians, labelled through p(HR | LR)."""

    name = "epitome"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="low", transductive=True, prior=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. IV; team calebrob6"
    Params = EpitomeParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {
            "size": 96,
            "batches": 800,
            "learning_rate": 0.01,
            "precision_rate": 0.3,
            "embedding_windows": 50_000,
        },
    }
    params: EpitomeParams

    def requires(self) -> Needs:
        return Needs(inputs=inputs_of(self.params.channels), labels="low", transductive=True, prior=True)

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Train, embed and label; leaves ``model_``, ``limits_`` (2, C) or None, and ``labels_`` (8, E, E)."""
        from .epitome_training import Training, train

        params, patches = self.params, contest.target
        if not len(patches):
            raise UsageError("epitome: the split holds no patches; there is nothing to fit on.")
        self.limits_ = self._limits(patches, run) if params.stretch else None
        settings = Training(
            size=params.size,
            window=params.window,
            channels=len(params.channels),
            weights=self._channel_weights(),
            batches=params.batches,
            batch_size=params.batch_size,
            learning_rate=params.learning_rate,
            precision_rate=params.precision_rate,
            threads=params.threads,
        )

        def windows(n: int, images: int, generator: np.random.Generator) -> NDArray[np.float32]:
            return self._windows(patches, n, images, generator, run)

        self.model_: EpitomeModel = train(settings, windows, run)
        mass = self._embed(patches, run)
        positions = class_positions(mass, balanced=params.positions == "balanced")
        prior = smoothed_prior(contest.label_prior, params.prior_smoothing)
        labels, divergences = label_em(prior, positions, params.label_iterations)
        run.log({"epitome_label_divergence": divergences[-1]})
        run.message(f"epitome: divergence of the label mixture {divergences[0]:.4f} -> {divergences[-1]:.4f} nats")
        self.labels_ = labels.T.reshape(len(SCORED_CODES), params.size, params.size).astype(np.float32)
        self._draw(run)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Mixtures of p(l|u) under the posteriors of the windows over, or around, each pixel."""
        params = self.params
        read = Stretched(params.channels, self.limits_)
        dense = self._dense(params.temperature, run)
        mix = dense.window_labels if params.prediction == "window" else dense.centre_labels

        def one(patch: Patch) -> Prediction:
            return Prediction(patch.id, mix(read(patch), self.labels_))

        yield from run.map(one, patches)

    def _dense(self, temperature: float, run: RunContext) -> Dense | TorchDense:
        """The trained epitome at a temperature, on the run's device; at 1, log-likelihoods are means over the window."""
        from .epitome_likelihood import Dense, Tables

        weights = np.array(self._channel_weights())
        tables = Tables.of(self.model_, weights, temperature * self.params.window**2)
        if run.device == "cpu":
            return Dense(tables)
        from .epitome_torch import TorchDense

        return TorchDense(tables, run.device)

    def _channel_weights(self) -> tuple[float, ...]:
        return tuple(self.params.weights.get(name, 1.0) for name in self.params.channels)

    def _limits(self, patches: PatchSet, run: RunContext) -> NDArray[np.float32]:
        """Percentiles (2, C) of the channels over pixels of some images, equally many from each."""
        generator = run.generator("epitome", "scaling")
        chosen = generator.permutation(len(patches))[:SCALING_IMAGES]
        seeds = generator.integers(2**63, size=len(chosen))
        read = Channels(self.params.channels)

        def draw(index: int) -> NDArray[np.float32]:
            x = read(patches[int(chosen[index])])
            x = x.reshape(len(x), -1)
            return x[:, np.random.default_rng(seeds[index]).integers(x.shape[1], size=SCALING_PIXELS // len(chosen))]

        drawn = np.concatenate(list(run.map(draw, range(len(chosen)))), axis=1)
        low, high = np.percentile(drawn, [self.params.stretch, 100 - self.params.stretch], axis=1)
        flat = high <= low
        low[flat], high[flat] = 0.0, 1.0
        return np.stack([low, high]).astype(np.float32)

    def _windows(
        self, patches: PatchSet, n: int, images: int, generator: np.random.Generator, run: RunContext
    ) -> NDArray[np.float32]:
        """Windows (n, C, w, w) from anywhere within randomly drawn images, equally many from each."""
        chosen = generator.permutation(len(patches))[:images]
        share = -(-n // len(chosen))
        seeds = generator.integers(2**63, size=len(chosen))
        side = self.params.window
        read = Stretched(self.params.channels, self.limits_)

        def draw(index: int) -> NDArray[np.float32]:
            x = read(patches[int(chosen[index])])
            missing = [max(0, side - length) for length in x.shape[1:]]
            x = np.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing)), mode="reflect")
            views = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
            own = np.random.default_rng(seeds[index])
            rows, columns = (own.integers(length, size=share) for length in views.shape[1:3])
            return views[:, rows, columns].transpose(1, 0, 2, 3)

        drawn = np.concatenate(list(run.map(draw, range(len(chosen)))))
        return np.ascontiguousarray(drawn[generator.permutation(len(drawn))[:n]], np.float32)

    def _embed(self, patches: PatchSet, run: RunContext) -> NDArray[np.float64]:
        """Posteriors summed by the low-resolution class of the window's centre, (10, E^2); rows CODES."""
        params = self.params
        read = Stretched(params.channels, self.limits_)
        dense = self._dense(params.embedding_temperature, run)
        tiles = -(-params.embedding_windows // TILE**2)
        generator = run.generator("epitome", "embedding")
        order = generator.permutation(len(patches))
        counts = np.bincount(order[np.arange(tiles) % len(order)], minlength=len(patches))
        shape = (max(CODES) + 1, params.size, params.size)

        def one(index: int) -> NDArray[np.float64]:
            patch = patches[index]
            x, low = read(patch), patch.low
            own = run.generator("epitome", "embedding", patch.id)
            sums = np.zeros(shape)
            for _ in range(counts[index]):
                corner = [int(own.integers(max(1, n - TILE + 1))) for n in low.shape]
                part = (slice(corner[0], corner[0] + TILE), slice(corner[1], corner[1] + TILE))
                dense.add_posteriors(x, low, sums, part)
            return sums

        total = np.zeros(shape)
        for sums in run.map(one, np.flatnonzero(counts).tolist(), label="embedding labels"):
            total += sums
        return total[list(CODES)].reshape(len(CODES), -1)

    def _draw(self, run: RunContext) -> None:
        from .epitome_picture import draw

        params = self.params
        draw(self.model_, self.labels_, params.channels, run.artifact("epitome.png"))
