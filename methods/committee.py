"""What methods made of random forests share: their parameters, and forests that are kept one file each.

Defaults are the constants of the Track 2 winner (Robinson et al., IEEE JSTARS 14 (2021), Sec. V) where there are any.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dfcbench.method import Field, Method, Params, RunContext
from dfcbench.scheme import SCORED_NAMES

from .forests import EngineName, Growing, Member, checkpoint
from .windows import Side

if TYPE_CHECKING:
    from .features.stack import Stack
    from .forest_sampling import Population
    from .forest_trees import Trees


class ForestParams(Params):
    """How forests are grown."""

    trees: int = Field(10, ge=1, description="trees of a forest")
    max_depth: int = Field(60, ge=1, description="of a tree")
    min_samples: int = Field(1000, ge=1, description="a node with fewer samples is not split")
    draw: int = Field(40_000_000, ge=1, description="pixels drawn for each forest; all there are, if fewer")
    engine: EngineName = Field(
        "auto",
        validate_default=True,
        description="what grows the forests; auto: sklearnex (scikit-learn-intelex) where it is installed",
    )

    def growing(self, run: RunContext) -> Growing:
        """The same for ``forests``."""
        return Growing(self.engine, self.trees, self.max_depth, self.min_samples, run.workers)


class CleaningParams(Params):
    """How low-resolution labels are refined, see ``refinement``."""

    clusters: int = Field(5, ge=2, description="of Shrubland, the barest of which becomes Barren")
    water_pixels: int = Field(1, ge=1, description="LR Water pixels that make the Savanna of a patch Wetlands")
    confidence: float = Field(0.5, ge=0, le=1, description="least probability of samples added to Wetlands, Grassland")


class TextureParams(Params):
    """Texture among the features."""

    texture_window: Side = Field(13, ge=3, description="side of the texture window in pixels, odd")
    texture_levels: int = Field(64, ge=2, le=256, description="grey levels of texture")
    texture_offsets: tuple[tuple[int, int], ...] = Field(
        ((0, 1),), min_length=1, description="(rows, columns) between the pixels of a pair; several are averaged"
    )
    texture_grey_maximum: float = Field(0.3, gt=0, description="reflectance of the brightest grey level")

    def textured(self) -> Stack:
        """The 36 features."""
        from .features.stack import Stack, Texture

        return Stack(Texture(self.texture_window, self.texture_levels, self.texture_offsets, self.texture_grey_maximum))


class ForestCommittee(Method):
    """Base of methods whose forests are many: ``members_`` names them, and they are read when they vote."""

    members_: list[Member]
    _read: Callable[[str], Trees]

    def keep_forests_of(self, run: RunContext) -> None:
        """Read the forests from the run that has just grown them."""

        def read(name: str) -> Trees:
            return cast("Trees", run.load_checkpoint(checkpoint(name)))

        self._read = read

    def save(self, folder: Path) -> None:
        """One file per forest, ``<name>.npz``, beside what every method keeps."""
        for member in self.members_:
            self._read(member.name).save(folder / f"{member.name}.npz")
        super().save(folder)
        self._read = partial(_read_from, folder)

    def load(self, folder: Path) -> None:
        """Restore what ``save`` kept; forests are read when they vote."""
        super().load(folder)
        for member in self.members_:
            _read_from(folder, member.name)
        self._read = partial(_read_from, folder)

    def record_forests(self, population: Population, params: ForestParams, run: RunContext) -> None:
        """Leaves forests.json with the submission: engine, its version, training pixels by class, nodes by forest."""
        import json

        package = {"sklearn": "scikit-learn", "sklearnex": "scikit-learn-intelex"}[params.engine]
        record = {
            "engine": params.engine,
            "version": metadata.version(package),
            "rows": min(params.draw, population.pixels),
            "training_pixels": dict(zip(SCORED_NAMES, population.counts.sum(axis=0).tolist(), strict=True)),
            "nodes": {member.name: int(self._read(member.name).link.size) for member in self.members_},
        }
        run.artifact("forests.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _read_from(folder: Path, name: str) -> Trees:
    from .forest_trees import Trees

    return Trees.load(folder / f"{name}.npz")
