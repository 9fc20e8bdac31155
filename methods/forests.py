"""Random forests one by one: each grown on a draw of its own and kept in a file of its own, then all of them voting.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. V. scikit-learn's classifier is the reference; scikit-learn-intelex
(``sklearnex``) grows the same forests several times faster, on histograms of 256 bins. Both become ``forest_trees.Trees``,
which vote. sklearnex does not tell the class distributions in its leaves, only their labels: they are counted from the
forest's own draw, all of it, where scikit-learn's come from each tree's bootstrap sample of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from dfcbench.method import Field, Params, Patch, RunContext
from dfcbench.scheme import SCORED_CODES

if TYPE_CHECKING:
    from .forest_sampling import Draw, Features, Population
    from .forest_trees import Trees

CLASSES = len(SCORED_CODES)

Engine = Literal["sklearn", "sklearnex"]
Sums = dict[str, NDArray[np.float32]]
"""Votes summed so far, (n, 8) by kind of member."""

HELD = 4e9
"""Bytes of forests held while they vote. More than that are read in turn for every ``CHUNK`` patches."""
CHUNK = 16
"""Patches whose features a worker holds meanwhile: 36 features of 16 patches of 256 x 256 pixels take 0.15 GB."""


def engine_here() -> Engine:
    """The fastest engine that is installed; nothing is imported."""
    return "sklearnex" if importlib.util.find_spec("sklearnex") else "sklearn"


def _installed(value: object) -> Engine:
    found = engine_here()
    if value == "auto":
        return found
    if value == "sklearn":
        return "sklearn"
    if value != "sklearnex":
        raise ValueError("engines are auto, sklearn and sklearnex")
    if found != "sklearnex":
        raise ValueError("sklearnex is not installed here; pip install scikit-learn-intelex, or choose sklearn")
    return "sklearnex"


EngineName = Annotated[Engine, BeforeValidator(_installed)]
"""Type of a parameter: an engine that is installed here. ``auto`` becomes the engine itself, so that a submission tells it
and its key depends on it; as a default that takes ``Field("auto", validate_default=True)``."""


@dataclass(frozen=True)
class Growing:
    """How every forest is grown.

    min_samples: a node with fewer samples is not split any more. "Minimum sample size" could mean that or the smallest
    leaf; it is read as the tools of remote sensing do that call it so (OpenCV's ``min_sample_count``, Orfeo's
    ``rf.min``). Features tried at a split are the square root of all, the default of both engines.
    """

    engine: Engine = "sklearn"
    trees: int = 10
    max_depth: int = 60
    min_samples: int = 1000
    workers: int = 1


class GrowingParams(Params):
    """How a forest of one draw is grown, where a publication does not tell; ``random_forest`` gives the reasons."""

    trees: int = Field(100, ge=1, description="trees of the forest")
    max_depth: int = Field(60, ge=1, description="of a tree")
    min_samples: int = Field(100, ge=2, description="a node with fewer samples is not split")
    engine: EngineName = Field(
        "auto",
        validate_default=True,
        description="what grows the forest; auto: sklearnex (scikit-learn-intelex) where it is installed",
    )

    def growing(self, workers: int) -> Growing:
        """The same for ``grow``, in so many threads."""
        return Growing(self.engine, self.trees, self.max_depth, self.min_samples, workers)


@dataclass(frozen=True)
class Member:
    """A forest of the committee: its name, what it votes on, whether its classes are balanced, its weight."""

    name: str
    kind: str
    weighted: bool
    weight: float = 1.0


def class_weights(y: NDArray[np.uint8], weighted: bool) -> NDArray[np.float64]:
    """Weights by class, (8,): 1, or n / (classes present * samples of the class); 0 for a class that is absent."""
    counts = np.bincount(y, minlength=CLASSES)
    if not weighted:
        return np.ones(CLASSES)
    present = counts > 0
    return np.where(present, len(y) / (present.sum() * np.maximum(counts, 1)), 0.0)


def classifier(growing: Growing, weighted: bool, seed: int) -> Any:
    """The engine's forest, not yet fitted."""
    if growing.engine == "sklearnex":
        from sklearnex.ensemble import RandomForestClassifier
    else:
        from sklearn.ensemble import RandomForestClassifier
    return RandomForestClassifier(
        n_estimators=growing.trees,
        max_depth=growing.max_depth,
        min_samples_split=max(2, growing.min_samples),
        class_weight="balanced" if weighted else None,
        random_state=seed,
        n_jobs=growing.workers,
    )


def grow(draw: Draw, growing: Growing, weighted: bool, seed: int) -> Trees:
    """One forest; the same one again for the same draw and seed, however many workers there are."""
    from .forest_trees import from_sklearn

    forest = classifier(growing, weighted, seed).fit(draw.x, draw.y)
    trees = from_sklearn([tree.tree_ for tree in forest.estimators_], forest.classes_)
    if growing.engine == "sklearnex":
        trees = trees.recounted(draw.x, draw.y, class_weights(draw.y, weighted))
    return trees


def checkpoint(name: str) -> str:
    """Name under which a finished forest is kept while the run is under way."""
    return f"forest-{name}"


def grow_all(
    members: Sequence[Member],
    population: Population,
    rows: int,
    features: Features,
    growing: Growing,
    run: RunContext,
    *,
    only: slice = slice(None),
) -> None:
    """Grow the members that are not finished yet, each on its own draw of ``rows`` pixels, and keep each at once.

    On a cluster, each worker draws and grows a forest by itself.
    """
    from .forest_sampling import groups

    kinds = {member.name: member for member in members}
    missing = [name for name in kinds if run.load_checkpoint(checkpoint(name)) is None]

    def keep(name: str, draw: Draw, growing: Growing) -> int:
        seed = int(run.generator("antonia", "forest", name).integers(2**31))
        trees = grow(draw, growing, kinds[name].weighted, seed)
        run.save_checkpoint(checkpoint(name), trees)
        return trees.link.size

    def tell(name: str, nodes: int) -> None:
        run.log({f"{kinds[name].kind}_forest_nodes": nodes}, step=int(name.rpartition("-")[2]))

    if run.distributed:

        def alone(name: str) -> int:
            draw = population.draw([name], rows, features, run, only=only)[name]
            return keep(name, draw, replace(growing, workers=1))

        for name, nodes in zip(missing, run.map(alone, missing, label="growing forests"), strict=True):
            tell(name, nodes)
        return
    width = len(features(population.patch(0))) if missing else 0
    draws: dict[str, Draw] = {}

    def drawn() -> Iterator[str]:
        for names in groups(missing, min(rows, population.pixels), width):
            draws.update(population.draw(names, rows, features, run, only=only))
            yield from names

    # Names go around, not draws, so that each draw is forgotten before the next one is assembled.
    for name in run.progress(drawn(), label="growing forests", total=len(missing)):
        tell(name, keep(name, draws.pop(name), growing))


def votes(
    members: Sequence[Member],
    read: Callable[[str], Trees],
    patches: Sequence[Patch],
    features: Features,
    run: RunContext,
) -> Iterator[tuple[Patch, Mapping[str, NDArray[np.float32]]]]:
    """Soft votes of each patch, (8, H, W) by kind of member: the weighted mean of the forests' probabilities.

    ``read`` gives a forest by its member's name. Memory depends neither on the number of patches nor, beyond ``HELD``,
    on that of forests; on a cluster forests are not held but read there, since they lie in files.
    """
    totals = {kind: sum(m.weight for m in members if m.kind == kind) for kind in {m.kind for m in members}}

    def inputs(patch: Patch) -> tuple[NDArray[np.float32], tuple[int, int]]:
        from .features.stack import by_pixel

        x = features(patch)
        return by_pixel(x), (x.shape[1], x.shape[2])

    def empty(n: int) -> Sums:
        return {kind: np.zeros((n, CLASSES), np.float32) for kind in totals}

    def shaped(sums: Sums, shape: tuple[int, int]) -> Sums:
        return {kind: np.ascontiguousarray(p.T).reshape(CLASSES, *shape) for kind, p in sums.items()}

    held = None if run.distributed else _held(members, read)
    together = CHUNK if held is None else 1

    def voted(first: int) -> list[Sums]:
        x, shapes = zip(*map(inputs, patches[first : first + together]), strict=True)
        sums = [empty(len(pixels)) for pixels in x]
        for number, member in enumerate(members):
            trees = read(member.name) if held is None else held[number]
            for pixels, votes_so_far in zip(x, sums, strict=True):
                trees.vote(pixels, votes_so_far[member.kind], member.weight / totals[member.kind])
        return [shaped(each, shape) for each, shape in zip(sums, shapes, strict=True)]

    starts = range(0, len(patches), together)
    for first, found in zip(starts, run.map(voted, starts), strict=True):
        yield from zip(patches[first : first + together], found, strict=True)


def _held(members: Sequence[Member], read: Callable[[str], Trees]) -> list[Trees] | None:
    """All forests, or None where they would take more than ``HELD`` bytes."""
    held: list[Trees] = []
    total = 0
    for member in members:
        held.append(read(member.name))
        total += held[-1].nbytes
        if total > HELD:
            return None
    return held
