"""The entries of team Pineapples, Track 1 (third) and Track 2 (second): a reconstruction.

Known (Robinson et al., IEEE JSTARS 14, 2021, one paragraph each). Track 1: automated label pre-processing; a Gaussian naive
Bayes classifier trained on cluster centroids, and classes obtained by k-means; random forests with bag-of-words features,
and topic vectors; then refinement for specific classes. Track 2: the same, but forests trained on the high-resolution
labels, with neither topic vectors nor bag-of-words. Nothing else is known: no constant below is published.

Chosen, with reasons:

* Everything is learned from the scored images and their low-resolution labels, which came with them; whether SEN12MS was
  used is not told. So both are transductive.
* Clusters take their classes by maximum likelihood under p(HR | LR), which every contestant had (``cluster_classes``), and
  are read beside a pixel's own label; naive Bayes on their centroids sees colour alone (``naive_bayes``). Labels on which
  both agree are kept for training (``cluster_cleaning``); the rule is step 3 of the Track 2 winner's refinement.
* Visual words are k-means of the pixels' bands; their shares in a window about a pixel are its bag of words
  (``features.words``), and topics by latent Dirichlet allocation describe the same window (``features.topics``).
* The three branches have a vote each, as plain as it can be, and classes count alike in all of them, as in the score.
* Refinement: physical rules on spectral indices for Water, Forest, Urban and Barren (``class_rules``), of which only those
  count that the training labels bear out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from dfcbench.method import Contest, Field, Method, Needs, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import NO_LABEL

from .branches import FINAL, hold_out, log_agreement, log_held_out
from .features.words import LARGEST_WINDOW
from .forest_branch import ForestBranchParams, forest_maps, grown, kept
from .forest_kernels import FEATURE_BITS
from .pixel_draw import PixelFeatures, draw_pixels, high
from .refinement import CONFIDENCE
from .windows import Side

if TYPE_CHECKING:
    from .class_rules import Rule
    from .cluster_cleaning import Cleaner
    from .clustering import Clustering
    from .features.topics import Topics
    from .forest_sampling import Draw
    from .random_forest import GrownForest

PIXEL_FEATURES = 24
"""Ten bands, VV, VH and twelve indices."""


class PineapplesParams(ForestBranchParams):
    """None of them is published."""

    clusters: int = Field(256, ge=2, description="of k-means; many, so that each is nearly of one class")
    cluster_pixels: int = Field(200_000, ge=2, description="pixels on which clusters, and visual words, are found")
    restarts: int = Field(3, ge=1, description="starts of k-means, of which the best is kept")
    confidence: float = Field(CONFIDENCE, ge=0, le=1, description="least probability of a cleaned label")
    cluster_vote: float = Field(1.0, ge=0, description="weight of the clusters' classes in the vote")
    bayes_vote: float = Field(1.0, ge=0, description="weight of naive Bayes")
    forest_vote: float = Field(1.0, ge=0, description="weight of the forest")
    rules: bool = Field(True, description="class-specific refinement at the end")

    @model_validator(mode="after")
    def _someone_votes(self) -> Self:
        if not self.cluster_vote + self.bayes_vote + self.forest_vote > 0:
            raise ValueError("nobody has a vote; give cluster_vote, bayes_vote or forest_vote above 0")
        return self


class PineapplesTrack1Params(PineapplesParams):
    """None of them is published. A window of 15 pixels is 150 m wide: a block of houses, or a few fields."""

    words: int = Field(32, ge=2, description="visual words")
    window: Side = Field(15, ge=3, le=LARGEST_WINDOW, description="side of their window in pixels, odd")
    topics: int = Field(8, ge=2, description="of windows")
    documents: int = Field(10_000, ge=2, description="windows that topics are learned from")
    topic_iterations: int = Field(10, ge=1, description="passes over them; scikit-learn's default")
    topic_stride: int = Field(
        4, ge=1, description="topics are found for a window every so many pixels, and interpolated between"
    )

    @model_validator(mode="after")
    def _fits_the_forest(self) -> Self:
        most = (1 << FEATURE_BITS) - PIXEL_FEATURES
        if self.words + self.topics > most:
            raise ValueError(f"words and topics are at most {most} together, beside {PIXEL_FEATURES} other features")
        return self


@dataclass(frozen=True)
class BagOfWords:
    """Features of a patch by pixel and by window: the ``PIXEL_FEATURES``, shares of words, topics; (F, H, W)."""

    words: Clustering
    window: int
    topics: Topics
    stride: int

    def __call__(self, patch: Patch) -> NDArray[np.float32]:
        """The features of one patch."""
        from .features.words import word_shares

        counts = self.counts(patch)
        return np.concatenate([plain(patch), word_shares(counts), self.topics.maps(counts, self.stride)])

    def counts(self, patch: Patch) -> NDArray[np.uint16]:
        """Words in the window about each pixel, (H, W, words)."""
        return window_counts(self.words, self.window, patch)


def plain(patch: Patch) -> NDArray[np.float32]:
    """Bands, radar and indices, (24, H, W)."""
    return PixelFeatures("s1+s2", indices=True)(patch)


NAMES = PixelFeatures("s1+s2", indices=True).names


def window_counts(words: Clustering, window: int, patch: Patch) -> NDArray[np.uint16]:
    """Words in the window about each pixel, (H, W, words)."""
    from .cluster_cleaning import bands
    from .features.stack import by_pixel
    from .features.words import word_counts

    x = bands(patch)
    found = words.nearest(by_pixel(x)).reshape(x.shape[1:])
    return word_counts(found, len(words.centres), window)


class Pineapples(Method):
    """What both entries share; a subclass tells the forest's features and training pixels."""

    reconstruction: ClassVar[bool] = True
    params: Any
    features_: Callable[[Patch], NDArray[np.float32]]

    @abstractmethod
    def _learn_forest(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``features_`` and ``forest_``, and what rules are trusted."""

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``cleaner_`` (clusters and naive Bayes), ``features_``, ``forest_`` and ``rules_``."""
        from . import cluster_cleaning

        params = self.params
        settings = cluster_cleaning.ClusterSettings(params.clusters, params.cluster_pixels, params.restarts)
        target = contest.target
        self.cleaner_: Cleaner = kept(
            run,
            "clusters",
            lambda: cluster_cleaning.learn(target, contest.label_prior, settings, params.confidence, run),
        )
        self._learn_forest(contest, run)
        log_agreement(target, self._look, run)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Probabilities of each patch: the vote, refined."""

        def one(patch: Patch) -> Prediction:
            return Prediction(patch.id, self._branches(patch)[FINAL])

        yield from run.map(one, patches)

    def _grow(self, run: RunContext, draw: Callable[[], Draw]) -> None:
        """The forest on a draw, and the rules that the draw bears out."""

        def learned() -> tuple[GrownForest, tuple[Rule, ...]]:
            from .class_rules import trusted

            pixels = draw()
            rules = trusted(pixels.x, pixels.y, NAMES) if self.params.rules else ()
            return grown(self.params, pixels, run, self.name), rules

        self.forest_, self.rules_ = kept(run, "forest", learned)
        told = "; ".join(f"{rule.name}: {rule.index} {rule.least} to {rule.most}" for rule in self.rules_)
        run.message(f"{self.name}: rules that the training labels bear out: {told or 'none'}.")

    def _branches(self, patch: Patch) -> dict[str, NDArray[np.float32]]:
        """Probabilities (8, H, W) of the clusters, naive Bayes and the forest, of their vote, and of the map."""
        from .class_rules import ruled

        params = self.params
        of_clusters, of_bayes = self.cleaner_.probabilities(patch)
        x = self.features_(patch)
        of_forest = forest_maps(self.forest_, x)
        weights = (params.cluster_vote, params.bayes_vote, params.forest_vote)
        branches = {"clusters": of_clusters, "bayes": of_bayes, "forest": of_forest}
        votes = [np.float32(w / sum(weights)) * p for w, p in zip(weights, branches.values(), strict=True)]
        vote = np.sum(votes, axis=0)
        return {**branches, "vote": vote, FINAL: ruled(vote, x, NAMES, self.rules_)}

    def _look(self, patch: Patch) -> tuple[dict[str, NDArray[np.float32]], dict[str, tuple[Any, Any]]]:
        """Branches, and what the rules of each class change by themselves."""
        from .class_rules import ruled

        branches = self._branches(patch)
        vote = branches.pop("vote")
        x = plain(patch)
        steps = {"rules": (vote, branches[FINAL])}
        for name in sorted({rule.name for rule in self.rules_}):
            own = [rule for rule in self.rules_ if rule.name == name]
            steps[f"rules_of_{name.lower().replace('/', '_').replace('-', '_')}"] = (vote, ruled(vote, x, NAMES, own))
        return branches, steps


class PineapplesTrack1(Pineapples):
    """Pineapples, Track 1: k-means, naive Bayes on centroids, a forest on bags of words and topics (a reconstruction).

    Known: automated label pre-processing; Gaussian naive Bayes on cluster centroids, and classes by k-means; random forests
    with bag-of-words features and topic vectors; refinement for specific classes. Chosen: all is learned from the scored
    images and their LR labels; clusters take classes under p(HR | LR), and labels on which they and naive Bayes agree are
    kept; words are k-means of bands in a window, topics latent Dirichlet allocation of them; a vote each; published
    thresholds of indices that the training labels bear out.
    """

    name = "pineapples-track1"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="low", transductive=True, prior=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table V; team Pineapples, a reconstruction"
    Params = PineapplesTrack1Params
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {"clusters": 64, "cluster_pixels": 50_000, "pixels": 100_000, "documents": 2000},
    }
    params: PineapplesTrack1Params

    def _learn_forest(self, contest: Contest, run: RunContext) -> None:
        from .clustering import Scale, cluster

        params, target = self.params, contest.target
        some = target.subset(params.patches, run.generator("pixels", "patches"))

        def words() -> Clustering:
            from .cluster_cleaning import at_most, bands

            draw = draw_pixels(some, lambda patch: patch.low, params.cluster_pixels, "all", bands, run)
            seed = int(run.generator("words").integers(2**31))
            scale = Scale.of(draw.x, np.float32)
            return cluster(draw.x, scale, at_most(params.words, draw.x), params.restarts, seed)[0]

        found: Clustering = kept(run, "words", words)
        topics: Topics = kept(run, "topics", lambda: self._topics(some, found, run))
        self.features_ = BagOfWords(found, params.window, topics, params.topic_stride)
        labels = self.cleaner_.labels

        def draw() -> Draw:
            kept = pixels = 0
            for known, size in run.map(lambda p: ((labels(p) != NO_LABEL).sum(), p.low.size), some):
                kept, pixels = kept + int(known), pixels + size
            run.log({"cleaned_label_share": kept / max(1, pixels)})
            return draw_pixels(some, labels, params.pixels, "equal", self.features_, run)

        self._grow(run, draw)

    def _topics(self, patches: PatchSet, words: Clustering, run: RunContext) -> Topics:
        """Topics of windows at random places, as many of each patch."""
        from .features.topics import Topics

        params = self.params
        chosen = patches.subset(params.documents, run.generator("topics", "patches"))
        each = -(-params.documents // len(chosen))

        def windows(patch: Patch) -> NDArray[np.uint16]:
            counts = window_counts(words, params.window, patch)
            flat = counts.reshape(-1, counts.shape[-1])
            own = run.generator("topics", patch.id)
            return flat[own.choice(len(flat), size=min(each, len(flat)), replace=False, shuffle=False)]

        documents = np.concatenate(list(run.map(windows, chosen, label="drawing windows")))
        seed = int(run.generator("topics").integers(2**31))
        run.message(f"{self.name}: learns {params.topics} topics from {len(documents)} windows.")
        return Topics.of(documents, params.topics, params.topic_iterations, seed)


class PineapplesTrack2(Pineapples):
    """Pineapples, Track 2: k-means, naive Bayes on centroids, a forest on HR labels (a reconstruction).

    Known: as the entry to Track 1, but forests learn from HR labels, without topic vectors and bag-of-words. Chosen: what
    was chosen there; the forest learns from the HR labels of validation.
    """

    name = "pineapples-track2"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="high", transductive=True, prior=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table V; team Pineapples, a reconstruction"
    Params = PineapplesParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {"clusters": 64, "cluster_pixels": 50_000, "pixels": 100_000},
    }
    params: PineapplesParams

    def _learn_forest(self, contest: Contest, run: RunContext) -> None:
        self.features_ = plain
        training, held = hold_out(contest.labelled, run.generator("held out"))
        some = training.subset(self.params.patches, run.generator("pixels", "patches"))
        self._grow(run, lambda: draw_pixels(some, high, self.params.pixels, "equal", plain, run))
        log_held_out(held, self._branches, run)
