"""The entry of team dfchen, Track 2 (third): a reconstruction.

Known (Robinson et al., IEEE JSTARS 14, 2021, one sentence): random forests, k-means and DeepLabv3++, with post-processing
and retraining. Nothing else: not how the three were combined, on which labels each was trained, what the post-processing
was, nor what "++" adds to DeepLabv3+. No constant below is published.

Chosen, with reasons:

* Forest and network learn from the high-resolution labels of validation, which are what Track 2 shows beyond Track 1; the
  network is this project's DeepLabv3+ with the baseline's constants where Table IV tells them, from a random start.
  k-means is the method ``kmeans`` on the scored images and their low-resolution labels: the one branch that has seen the
  images of the test split, whose look differs from that of validation.
* A vote combines them. k-means gives labels, not probabilities, and of low-resolution labels: at half a vote it decides
  where the other two do not agree, and cannot outvote one that is sure.
* Post-processing: the mean of the probabilities over a small window, which takes single pixels out (Schindler, IEEE TGRS
  50, 2012, compares such filters on land cover).
* Retraining: the network goes on with the combined maps of the scored images as labels, where they are confident (a class
  above one half outweighs all others together); then it takes its former place in the vote. So the entry is transductive.
* A tenth of the labelled patches is held out, from all of it, to tell what each branch scores there; hence the forest is
  grown here and not taken from a run of ``random-forest``, which learns from all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Contest, Field, Method, Needs, Part, Patch, PatchSet, Prediction, RunContext
from dfcbench.patches import LabelledPatchSet
from dfcbench.scheme import NO_LABEL, SCORED_CODES

from .branches import FINAL, Maps, Steps, hold_out, log_agreement, log_held_out
from .deeplabv3 import DeepLabParams, DeepLabV3
from .forest_branch import ForestBranchParams, forest_maps, grown, kept
from .forest_sampling import NONE
from .kmeans import KMeansMapping, KMeansParams
from .networks.optimisers import OptimiserName
from .networks.torch_state import THREADS_TOLD, TRAINING_THREADS
from .pixel_draw import PixelFeatures, draw_pixels, high
from .refinement import CONFIDENCE
from .windows import Side

if TYPE_CHECKING:
    from .forest_sampling import Population
    from .random_forest import GrownForest

_CODES = np.full(256, NO_LABEL, np.uint8)
_CODES[: len(SCORED_CODES)] = SCORED_CODES
_COMBINED = "combined"


class DfChenParams(ForestBranchParams):
    """Nothing of this is published for this entry; the network's constants are those of ``deeplabv3``."""

    clusters: int = Field(
        32, ge=1, description="of k-means; more than classes, so that one may look different in different places"
    )
    backbone: Literal["resnet50", "resnet101"] = Field("resnet101", description="of DeepLabv3+")
    width: int = Field(64, ge=1, description="of the backbone, and the head shrinks with it")
    optimiser: OptimiserName = Field("sgd", description="of the network; sgd is with momentum 0.9")
    learning_rate: float = Field(1e-3, gt=0, description="of the backbone, falling to 0 by the power 0.9")
    head_factor: float = Field(10.0, gt=0, description="of the learning rate, in pyramid and decoder")
    weight_decay: float = Field(5e-4, ge=0, description="of the optimiser")
    batch: int = Field(32, ge=2, description="crops in a batch")
    crop: int = Field(256, ge=16, description="side of the crops in pixels; a patch has 256")
    jitter: float = Field(
        0.1, ge=0, le=1, description="deviation of a random gain of each band of a crop: other air, season or angle"
    )
    steps: int = Field(20_000, ge=1, description="batches of validation's labels")
    retraining_steps: int = Field(5000, ge=0, description="batches of the combined maps; 0: no retraining")
    confidence: float = Field(CONFIDENCE, ge=0, le=1, description="least probability of a label for retraining")
    forest_vote: float = Field(1.0, ge=0, description="weight of the forest in the vote")
    network_vote: float = Field(1.0, gt=0, description="weight of the network")
    kmeans_vote: float = Field(0.5, ge=0, description="weight of k-means, whose vote is for one class alone")
    smoothing: Side = Field(3, ge=1, description="side of the window of post-processing in pixels, odd; 1: none")
    threads: int = Field(TRAINING_THREADS, ge=1, description=THREADS_TOLD)


class DfChen(Method):
    """dfchen, Track 2: forest, k-means and DeepLabv3+ combined, smoothed, retrained on the result (a reconstruction).

    Known: random forests, k-means and DeepLabv3++, with post-processing and retraining. Chosen: forest and network learn
    from HR labels of validation, k-means takes classes from LR labels of the scored images; a weighted vote combines them;
    a mean over a small window is the post-processing; the network is retrained on what the combined maps are confident of.
    """

    name = "dfchen"
    reconstruction: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="high", transductive=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table V; team dfchen, a reconstruction"
    Params = DfChenParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {
            "pixels": 100_000,
            "backbone": "resnet50",
            "width": 16,
            "optimiser": "adamw",
            "head_factor": 1.0,
            "batch": 8,
            "crop": 96,
            "steps": 400,
            "retraining_steps": 200,
        },
    }
    params: DfChenParams

    def parts(self) -> Mapping[str, Part]:
        """k-means of the scored images, matched to classes by their low-resolution labels."""
        return {"kmeans": Part("kmeans", self._kmeans())}

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``forest_`` and ``network_``, the retrained one."""
        params, target = self.params, contest.target
        training, held = hold_out(contest.labelled, run.generator("held out"))

        def forest() -> GrownForest:
            some = training.subset(params.patches, run.generator("pixels", "patches"))
            return grown(params, draw_pixels(some, high, params.pixels, "equal", _features, run), run, self.name)

        self.forest_ = kept(run, "forest", forest)
        first = self._deeplab(params.steps)
        first.learn(training, high, run, self.name)
        self.network_ = self._retrained(first, target, run)
        self._compare(first, target, held, run)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """The vote of forest, k-means and the retrained network, smoothed."""
        from .networks.torch_state import threads

        network = self.network_.mapper(run)
        kmeans = run.parts["kmeans"]

        def one(patch: Patch) -> Prediction:
            vote = self._vote(self._forest(patch), network(patch), kmeans.probabilities(patch.id))
            return Prediction(patch.id, self._smooth(vote))

        with threads(1):  # threads over patches scale, threads inside one do not
            yield from run.map(one, patches)

    def _retrained(self, first: DeepLabV3, target: PatchSet, run: RunContext) -> DeepLabV3:
        """The network that went on with the combined maps; the first one where they are confident of nothing."""
        params = self.params
        if not params.retraining_steps:
            return first
        combined = self._combined(first, target, run)
        share = combined.pixels / max(1, int(target.shapes.prod(axis=1).sum()))
        run.log({"confident_share": share})
        if not combined.pixels:
            run.message(f"{self.name}: the combined maps are nowhere confident; the network is not retrained.")
            return first
        number = {patch_id: i for i, patch_id in enumerate(target.ids)}

        def labels(patch: Patch) -> NDArray[np.uint8]:
            return _CODES[combined.labels(number[patch.id])]

        second = self._deeplab(params.retraining_steps)
        second.learn(target, labels, run, f"{self.name}-retraining", before=first)
        return second

    def _combined(self, first: DeepLabV3, target: PatchSet, run: RunContext) -> Population:
        """Class indices of the scored images where their combined maps are confident, in a file of the scratch folder."""
        from .forest_sampling import Population
        from .networks.torch_state import threads

        labels = Population(run.scratch / "combined.bin", (target,))
        if run.load_checkpoint(_COMBINED) is not None:
            labels.recount()
            return labels
        network, kmeans = first.mapper(run), run.parts["kmeans"]

        def one(patch: Patch) -> NDArray[np.uint8]:
            p = self._smooth(self._vote(self._forest(patch), network(patch), kmeans.probabilities(patch.id)))
            return np.where(p.max(axis=0) >= self.params.confidence, p.argmax(axis=0), NONE).astype(np.uint8)

        with threads(1):
            for i, found in enumerate(run.map(one, target, label="combining")):
                labels.put(i, found)
        labels.flush()
        run.save_checkpoint(_COMBINED, True)
        return labels

    def _compare(self, first: DeepLabV3, target: PatchSet, held: LabelledPatchSet | None, run: RunContext) -> None:
        """Log what each branch brings; held-out patches, which are not among the part's maps, are mapped by what it
        learned."""
        from .networks.torch_state import threads

        former, network, part = first.mapper(run), self.network_.mapper(run), run.parts["kmeans"]
        clusters = KMeansMapping(KMeansParams(**self._kmeans()))
        clusters.load(part.learned)

        def branches(patch: Patch, kmeans: NDArray[np.float32]) -> tuple[Maps, Steps]:
            forest, before, after = self._forest(patch), former(patch), network(patch)
            once, vote = self._vote(forest, before, kmeans), self._vote(forest, after, kmeans)
            final = self._smooth(vote)
            maps = {"forest": forest, "kmeans": kmeans, "network": before, "retrained_network": after, FINAL: final}
            return maps, {"smoothing": (vote, final), "retraining": (self._smooth(once), final)}

        def mapped(patch: Patch) -> Maps:
            codes = clusters.mapped(patch)
            kmeans = (codes == np.array(SCORED_CODES, np.uint8)[:, None, None]).astype(np.float32)
            return branches(patch, kmeans)[0]

        with threads(1):
            log_agreement(target, lambda patch: branches(patch, part.probabilities(patch.id)), run)
            log_held_out(held, mapped, run)

    def _forest(self, patch: Patch) -> NDArray[np.float32]:
        return forest_maps(self.forest_, _features(patch))

    def _vote(
        self, forest: NDArray[np.float32], network: NDArray[np.float32], kmeans: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The weighted mean of probabilities (8, H, W)."""
        params = self.params
        total = params.forest_vote + params.network_vote + params.kmeans_vote
        weights = [np.float32(w / total) for w in (params.forest_vote, params.network_vote, params.kmeans_vote)]
        vote: NDArray[np.float32] = weights[0] * forest + weights[1] * network + weights[2] * kmeans
        return vote

    def _smooth(self, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (8, H, W), each the mean over its window; the image goes on as its mirror image."""
        from scipy.ndimage import uniform_filter

        side = self.params.smoothing
        smooth: NDArray[np.float32] = np.maximum(uniform_filter(p, (0, side, side)), 0)
        return smooth

    def _kmeans(self) -> dict[str, Any]:
        """Parameters of the part that its maps depend on."""
        return {"inputs": "s1+s2", "source": "target", "clusters": self.params.clusters}

    def _deeplab(self, steps: int) -> DeepLabV3:
        """The network, not yet trained. Classes weigh by the root of their rarity, as the score counts them alike."""
        params = self.params
        shared = ("backbone", "width", "optimiser", "learning_rate", "head_factor", "weight_decay", "batch", "crop")
        return DeepLabV3(
            DeepLabParams(
                inputs="s1+s2",
                scaling="moments",
                schedule="poly",
                class_weights="root",
                steps=steps,
                jitter=params.jitter,
                threads=params.threads,
                **{name: getattr(params, name) for name in shared},
            )
        )


def _features(patch: Patch) -> NDArray[np.float32]:
    """Bands, radar and indices, (24, H, W)."""
    return PixelFeatures("s1+s2", indices=True)(patch)
