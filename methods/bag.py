"""Bag clustering: colours clustered in the light of their neighbourhood, labelled through the prior alone.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-A; constants that the paper does not print are those of the
authors' published code for the same family of models. Which bands entered, and how many images shared one model, is
not known: here ten surface bands and both radar bands, all alike, and all images.

Three choices matter most elsewhere. Labels settle far more slowly than colours: with one update of p(s|l) a sweep some
rare classes are still on their way after the published 31 sweeps, and ``label_rounds`` above 1 gets them there in a
third of the sweeps. More ``clusters`` than 32 pay where images of several regions and seasons share a model and there
are at least some dozens of them; in a small contest they cost accuracy. ``images_per_model`` pays where successive
images share a region, there are enough of them, and atmospheres differ much; it costs accuracy where they do not.

A bag b generates the clusters s of a 5 x 5 window, a cluster generates a colour x (diagonal Gaussian), a label l
generates a cluster, and each pixel has a prior over labels from its low-resolution label and its image. Variational
expectation maximisation; ``bag_model`` holds the parameters, ``bag_engine`` the posteriors, ``bag_em`` the sweeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import UsageError
from dfcbench.method import Contest, Field, Method, Needs, Params, Patch, PatchSet, Prediction, RunContext

from .bag_em import Fit, Progress, Schedule, best_of, infer
from .bag_engine import CpuEngine, Engine, View
from .bag_model import BagModel, Settings
from .channels import CHANNELS, ChannelNames, Channels, ChannelWeights, inputs_of
from .label_prior import PIXEL_WEIGHT, SMOOTHING, image_prior, smoothed_prior


class BagParams(Params):
    """Defaults are the published constants where there are any."""

    clusters: int = Field(32, ge=2, le=256, description="colour clusters s")
    bags: int = Field(32, ge=1, description="bags b: kinds of neighbourhood")
    radius: int = Field(2, ge=0, description="of the windows, in pixels: 2 means 5 x 5")
    sweeps: int = Field(31, ge=1, description="passes over the images at most, each updating every block once")
    tolerance: float = Field(1e-5, ge=0, description="stop when the bound changes by less than this share in a sweep")
    texture_warm_up: int = Field(3, ge=0, description="first sweeps without bags")
    label_warm_up: int = Field(2, ge=0, description="first sweeps that leave p(s|l) flat")
    label_rounds: int = Field(1, ge=1, description="updates of p(s|l) in a sweep; the authors make one")
    smoothing: float = Field(1e-4, ge=0, description="added to p(s|b), p(s|l), q(b) and q(s)")
    variance_floor: float = Field(1e-6, gt=0, description="smallest variance, for channels scaled to [0, 1]")
    exact_borders: bool = Field(False, description="count the windows over a border pixel instead of a whole window")
    prior_smoothing: float = Field(SMOOTHING, ge=0, description="added to every cell of p(HR | LR)")
    prior_weight: float = Field(PIXEL_WEIGHT, ge=0, description="of a pixel's own label against its image's mean")
    channels: ChannelNames = Field(
        CHANNELS, description="bands by name (VV, VH, B1 ... B12), as a list or joined by commas"
    )
    weights: ChannelWeights = Field({}, description="of the bands' log-likelihoods, such as VV=0.5,VH=0.5; else 1")
    restarts: int = Field(1, ge=1, description="fits from different starts; the one with the highest bound is kept")
    fit_patches: int = Field(0, ge=0, description="fit on so many patches drawn at random, apply to all; 0: fit on all")
    images_per_model: int = Field(0, ge=0, description="successive images that share a model; 0: all share one")
    prediction_passes: int = Field(8, ge=1, description="sweeps over a patch at prediction, at most")
    precision: Literal["float32", "float64"] = Field("float32", description="of the posteriors")

    def settings(self) -> Settings:
        """The part of the parameters that the model needs."""
        return Settings(
            clusters=self.clusters,
            bags=self.bags,
            radius=self.radius,
            smoothing=self.smoothing,
            variance_floor=self.variance_floor,
            exact_borders=self.exact_borders,
            weights=tuple(self.weights.get(name, 1.0) for name in self.channels),
        )

    def schedule(self) -> Schedule:
        """The part of the parameters that the sweeps need."""
        return Schedule(self.sweeps, self.tolerance, self.texture_warm_up, self.label_warm_up, self.label_rounds)


class Reader:
    """Patches as views: the chosen channels scaled to [0, 1], and the image's prior by low-resolution code."""

    def __init__(self, patches: Sequence[Patch], params: BagParams, label_prior: NDArray[Any], dtype: Any) -> None:
        self.patches = patches
        self.weight = params.prior_weight
        self.prior = smoothed_prior(label_prior, params.prior_smoothing)
        self.dtype = dtype
        self.read = Channels(params.channels)

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int, /) -> View:
        return self.view(self.patches[index])

    def view(self, patch: Patch) -> View:
        """The model's view of one patch."""
        x = self.read(patch)
        low = np.asarray(patch.low, np.uint8)
        log_prior = np.log(np.maximum(image_prior(self.prior, low, self.weight), 1e-30))
        return View(
            x=np.ascontiguousarray(x.reshape(len(x), -1), self.dtype),
            low=np.ascontiguousarray(low).ravel(),
            log_prior=log_prior.astype(self.dtype),
            shape=(low.shape[0], low.shape[1]),
        )


class Bag(Method):
    """Bag clustering: colour clusters informed by their 5 x 5 neighbourhood, labelled through p(HR | LR)."""

    name = "bag"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="low", transductive=True, prior=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-A; team calebrob6"
    Params = BagParams
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {},
        "quick": {"sweeps": 10, "label_rounds": 4, "prediction_passes": 3},
    }
    params: BagParams

    def requires(self) -> Needs:
        return Needs(inputs=inputs_of(self.params.channels), labels="low", transductive=True, prior=True)

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Fit one model per group of successive images; leaves ``models_``, ``bounds_``, ``group_of_``."""
        params, patches = self.params, contest.target
        self.label_prior_ = np.asarray(contest.label_prior, np.float64)
        if not len(patches):
            raise UsageError(f"bag: the {contest.split} split holds no patches; there is nothing to fit on.")
        size = params.images_per_model or len(patches)
        groups = [range(first, min(first + size, len(patches))) for first in range(0, len(patches), size)]
        self.group_of_ = {patches[i].id: number for number, group in enumerate(groups) for i in group}
        self.models_: list[BagModel] = []
        self.bounds_: list[list[float]] = []
        for number, group in enumerate(groups):
            fits = self._fit_group(patches, group, number, run)
            self.models_.append(best_of(fits).model)
            self.bounds_.append([float("nan") if fit.bound is None else fit.bound for fit in fits])

    def _fit_group(self, patches: PatchSet, group: range, number: int, run: RunContext) -> list[Progress]:
        params = self.params
        indices = list(group)
        if 0 < params.fit_patches < len(indices):
            drawn = run.generator("bag", number, "patches").choice(len(indices), params.fit_patches, replace=False)
            indices = [indices[i] for i in sorted(drawn.tolist())]
        engine = self._engine(run)
        source = Reader(_Chosen(patches, indices), params, self.label_prior_, engine.dtype)
        fits = []
        for restart in range(params.restarts):
            fit = Fit(engine, source, params.settings(), params.schedule(), run, f"bag-{number}-{restart}")
            fits.append(fit((number * params.restarts + restart) * params.sweeps))
            run.message(
                f"bag: model {number}, start {restart}: {fits[-1].sweep} sweeps over {len(indices)} of {len(group)} "
                f"patches, bound {fits[-1].bound} nats per pixel"
            )
        return fits

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """q(l) of each patch under its group's model; a patch of no group takes the model with the highest bound."""
        params, engine = self.params, self._engine(run)
        reader = Reader(patches, params, self.label_prior_, engine.dtype)

        def one(patch: Patch) -> Prediction:
            view = reader.view(patch)
            group = self.group_of_.get(patch.id)
            models = self.models_ if group is None else [self.models_[group]]
            results = [infer(engine, model, view, params.prediction_passes, params.tolerance) for model in models]
            q_label, _ = max(results, key=lambda result: result[1])
            return Prediction(patch.id, q_label)

        yield from run.map(one, patches)

    def _engine(self, run: RunContext) -> Engine:
        dtype: type[np.floating[Any]] = np.float64 if self.params.precision == "float64" else np.float32
        if run.device.startswith("cuda"):
            from .bag_torch import TorchEngine

            return TorchEngine(self.params.settings(), run.device, dtype)
        return CpuEngine(self.params.settings(), dtype)


class _Chosen(Sequence[Patch]):
    """Some of a set's patches, read when asked for."""

    def __init__(self, patches: Sequence[Patch], indices: Sequence[int]) -> None:
        self._patches = patches
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._patches[self._indices[index]]
