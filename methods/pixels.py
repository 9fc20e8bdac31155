"""Adapter: any scikit-learn classifier as a method that maps each pixel by its own spectrum.

    from dfcbench_methods.adapters import SklearnMethod

    class Bayes(SklearnMethod):
        name = "bayes"

        def classifier(self, run):
            from sklearn.naive_bayes import GaussianNB
            return GaussianNB()

The rest is inherited: which pixels it learns from, features, parameters, the maps. ``random_forest`` and ``kmeans`` are
made so.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import ContractError
from dfcbench.method import Contest, Field, Method, Needs, Params, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES

from .forest_sampling import CLASSES, NONE, Draw
from .pixel_draw import Balance, Inputs, PixelFeatures, draw_pixels, high, low
from .sen12ms import subsample

_CODES = np.array(SCORED_CODES, np.uint8)


class PixelParams(Params):
    """What every method on pixels can be asked: images, features, and where it learns from."""

    inputs: Inputs = Field("s2", description="s2: ten bands of Sentinel-2; s1+s2: VV and VH as well")
    indices: bool = Field(False, description="twelve spectral indices beside the bands")
    source: Literal["sen12ms", "labelled", "target"] = Field(
        "sen12ms",
        description="learns from LR labels of SEN12MS, HR labels of validation (Track 2), or the scored images' LR labels",
    )
    patches: int = Field(
        2000, ge=1, description="patches that pixels are drawn from; of SEN12MS spread over its scenes"
    )
    pixels: int = Field(1_000_000, ge=1, description="pixels that are drawn; all there are, if fewer")


class SklearnParams(PixelParams):
    """Of classifiers; Savanna, Snow/Ice and pixels without a label are never learned from."""

    balance: Literal["equal", "natural"] = Field(
        "equal", description="equal: as many pixels of each class, as far as it has them; natural: as they occur"
    )


class SklearnMethod(Method):
    """A scikit-learn classifier on the pixels' bands: subclass it, give it a name and a ``classifier``.

    For parameters of your own, derive them from ``SklearnParams``. What is fitted is kept as ``classifier_``.
    """

    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s2"}), labels="low", training=True)
    Params: ClassVar[type[Params]] = SklearnParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"published": {}, "quick": {"patches": 64, "pixels": 50_000}}
    params: Any

    @abstractmethod
    def classifier(self, run: RunContext) -> Any:
        """An estimator, not yet fitted: ``fit(x, y)``, and ``predict_proba(x)`` or ``predict(x)``.

        x is float32 (n, features), y uint8 (n,): the class as an index into ``SCORED_CODES``, of which some may not
        occur. ``run.seed`` is for its random state, ``run.workers`` for its threads.
        """

    def requires(self) -> Needs:
        """By ``inputs`` and ``source``."""
        params = self.params
        return Needs(
            inputs=frozenset({"s2"}) if params.inputs == "s2" else frozenset({"s1", "s2"}),
            labels="high" if params.source == "labelled" else "low",
            transductive=params.source == "target",
            training=params.source == "sen12ms",
        )

    def balance(self) -> Balance:
        """How training pixels are drawn."""
        balance: Balance = self.params.balance
        return balance

    def features(self) -> PixelFeatures:
        """What computes the features of a patch, (F, H, W)."""
        return PixelFeatures(self.params.inputs, self.params.indices)

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Draw pixels and fit the classifier on them; leaves ``classifier_``."""
        draw = self._draw(contest, run)
        counts = np.bincount(draw.y, minlength=NONE + 1)[:CLASSES]
        told = ", ".join(f"{name} {count}" for name, count in zip(SCORED_NAMES, counts, strict=True))
        run.message(f"{self.name}: {len(draw.y)} training pixels, of which {told}.")
        self.classifier_ = self.classifier(run)
        self.classifier_.fit(draw.x, draw.y)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Probabilities (8, H, W) from a classifier that gives them, else codes (H, W)."""

        def one(patch: Patch) -> Prediction:
            return Prediction(patch.id, self.mapped(patch))

        yield from run.map(one, patches)

    def mapped(self, patch: Patch) -> NDArray[Any]:
        """Probabilities (8, H, W) or codes (H, W) of one patch."""
        from .features.stack import by_pixel

        x = self.features()(patch)
        values = self._answer(by_pixel(x))
        return np.ascontiguousarray(values.T).reshape(*values.shape[1:], *x.shape[1:])

    def _draw(self, contest: Contest, run: RunContext) -> Draw:
        params = self.params
        chosen = run.generator("pixels", "patches")
        how = (params.pixels, self.balance(), self.features(), run)
        if params.source == "labelled":
            return draw_pixels(contest.labelled.subset(params.patches, chosen), high, *how)
        if params.source == "target":
            return draw_pixels(contest.target.subset(params.patches, chosen), low, *how)
        return draw_pixels(subsample(contest.training, params.patches, run), low, *how)

    def _answer(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Probabilities (n, 8) with each class in its column, 0 where it was not learned; or codes (n,)."""
        estimator = self.classifier_
        if not hasattr(estimator, "predict_proba"):
            return _CODES[self._known(estimator.predict(x))]
        known = self._known(estimator.classes_)
        p = np.zeros((len(x), CLASSES), np.float32)
        p[:, known] = estimator.predict_proba(x)
        return p

    def _known(self, classes: Any) -> NDArray[np.intp]:
        found = np.asarray(classes).astype(np.intp)
        if found.size and not 0 <= found.min() <= found.max() < CLASSES:
            raise ContractError(
                f"{self.name}: its classifier speaks of class {found.min() if found.min() < 0 else found.max()}; classes "
                f"are indices 0 to {CLASSES - 1} into SCORED_CODES."
            )
        return found
