"""Expectation maximisation over many patches: stream, sweep, re-estimate, compare, stop; resumable after every sweep.

A sweep reads each patch once, updates q(b), q(l) and q(s) exactly, and adds up statistics in the order of the patches,
in float64, on the calling thread; so results depend neither on the number of workers nor on chunks. Between sweeps a
patch leaves q(s) in a file of the run's scratch folder (262 KB for 256 x 256 pixels); in memory nothing grows with the
number of patches. Carrying q(s) on, rather than starting each sweep's posteriors anew, is what makes the bound rise
from sweep to sweep with a single pass over the data.

The authors' schedule repeats (p(s|b), p(b), q(b)) and (mu, v, q(s)) five times each within an outer iteration. Here
every block is updated once a sweep and all of them together, which has the same fixed points and reads each image once
instead of ten times; the labels' blocks, updated once in either schedule, get exactly as many updates.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dfcbench.method import RunContext

from .bag_engine import Dense, Engine, Pairs, State, Sweep, View
from .bag_model import (
    LABELS,
    LOW_CODES,
    TINY,
    Array,
    BagModel,
    Settings,
    Statistics,
    label_likelihood,
    label_round,
    maximise,
)
from .bag_start import initial_bags, initial_model, window_histograms

SAMPLE_PATCHES = 128
"""Patches read for the start at most, spread at random over all."""
SAMPLE_PIXELS = 40_000
"""Pixels for the starting clusters, over a thousand for each of 32."""
SAMPLE_WINDOWS = 10_000
"""Windows for the starting bags."""


@dataclass(frozen=True)
class Schedule:
    """When to do what. Sweeps are counted from 0; a block joins in the sweep whose number is its ``warm-up``."""

    sweeps: int = 31
    tolerance: float = 1e-5
    texture_warm_up: int = 3
    label_warm_up: int = 2
    label_rounds: int = 1


class Source(Protocol):
    """The patches of one model, read anew at every access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> View: ...


@dataclass
class Progress:
    """Where a fit stands: enough to go on after a kill."""

    model: BagModel
    sweep: int = 0
    bound: float | None = None
    label_bound: float | None = None
    finished: bool = False


class StateFiles:
    """q(s) of every patch between sweeps, one file each, of the last two sweeps so that a killed one can be repeated.

    A file's name tells its sweep, and it appears complete: a task that is done twice, as happens where machines fail,
    writes the same again and disturbs nobody.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.clusters = settings.clusters
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, index: int, sweep: int) -> Path:
        return self.folder / f"{index:06d}-{sweep}.npy"

    def write(self, index: int, sweep: int, state: State) -> None:
        path = self._path(index, sweep)
        whole = path.with_suffix(f".{uuid.uuid4().hex}")
        with whole.open("wb") as file:
            if isinstance(state, Dense):
                np.save(file, state.q)
            else:
                np.save(file, state.clusters)
                np.save(file, state.share)
        whole.replace(path)
        self._path(index, sweep - 2).unlink(missing_ok=True)

    def read(self, index: int, sweep: int) -> State:
        with self._path(index, sweep).open("rb") as file:
            first = np.load(file)
            return Dense(first) if np.issubdtype(first.dtype, np.floating) else Pairs(first, np.load(file))

    def complete(self, count: int, sweep: int) -> bool:
        """Whether every patch has its state of that sweep."""
        return all(self._path(index, sweep).is_file() for index in range(count))

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class LabelTables:
    """Cluster counts by low-resolution code, and priors, of every patch of a sweep: fixed-size records in one file."""

    BATCH = 512

    def __init__(self, folder: Path, clusters: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "labels.bin"
        self.shape = (LOW_CODES, clusters + LABELS)
        self.file = self.path.open("wb")

    def append(self, by_code: Array, log_prior: Array) -> None:
        np.concatenate([by_code, log_prior], axis=1).astype(np.float32).tofile(self.file)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        self.file.flush()
        size = self.shape[0] * self.shape[1]
        with self.path.open("rb") as file:
            while (records := np.fromfile(file, np.float32, self.BATCH * size)).size:
                batch = records.reshape(-1, *self.shape).astype(np.float64)
                yield batch[..., :-LABELS], batch[..., -LABELS:]

    def close(self) -> None:
        self.file.close()
        self.path.unlink()


def chosen_patches(count: int, generator: np.random.Generator) -> list[int]:
    """At most ``SAMPLE_PATCHES`` of ``count`` indices, in order."""
    return sorted(generator.choice(count, min(count, SAMPLE_PATCHES), replace=False).tolist())


def sample_pixels(source: Source, run: RunContext, key: str) -> Array:
    """Pixels (n, C) from patches all over the source, float64."""
    indices = chosen_patches(len(source), run.generator(key, "sampled patches"))
    each = -(-SAMPLE_PIXELS // len(indices))

    def draw(index: int) -> Any:
        view = source[index]
        generator = run.generator(key, "sampled pixels", index)
        return view.x[:, generator.integers(view.x.shape[1], size=min(each, view.x.shape[1]))].T

    return np.concatenate(list(run.map(draw, indices))).astype(np.float64)


class Fit:
    """One fit of one model to one source; ``key`` keeps its draws and checkpoints apart from others'."""

    def __init__(
        self, engine: Engine, source: Source, settings: Settings, schedule: Schedule, run: RunContext, key: str
    ) -> None:
        self.engine = engine
        self.source = source
        self.settings = settings
        self.schedule = schedule
        self.run = run
        self.key = key
        self.files = StateFiles(run.scratch / f"bag-state-{key}", settings)

    def resume(self) -> Progress:
        """The progress last saved, or a fresh start."""
        progress = self.run.load_checkpoint(self.key)
        if isinstance(progress, Progress) and (
            progress.finished or progress.sweep == 0 or self.files.complete(len(self.source), progress.sweep - 1)
        ):
            return progress
        sample = sample_pixels(self.source, self.run, self.key)
        return Progress(initial_model(sample, self.settings, self.run.generator(self.key, "clusters")))

    def __call__(self, step: int = 0) -> Progress:
        """Sweep until the bound settles or the sweeps are done. Metrics are logged at ``step`` plus the sweep."""
        progress = self.resume()
        while not progress.finished:
            progress = self.advance(progress, step)
            self.run.save_checkpoint(self.key, progress)
        if self.files.folder.exists():
            self.files.clear()
        return progress

    def advance(self, progress: Progress, step: int) -> Progress:
        """One sweep over all patches and the M step after it."""
        number, schedule = progress.sweep, self.schedule
        model = progress.model
        texture = number >= schedule.texture_warm_up and number > 0
        if number > 0 and number == max(1, schedule.texture_warm_up):
            model = replace(model, in_bag=self.bags(number - 1))
        tables = model.tables(self.engine.dtype, texture)

        def sweep(index: int) -> tuple[Statistics, Array]:
            state = self.files.read(index, number - 1) if number else None
            view = self.source[index]
            result: Sweep = self.engine.sweep(tables, view, state)
            self.files.write(index, number, result.state)
            return result.statistics, view.log_prior.astype(np.float64)

        total = Statistics.zeros(tables)
        label_bound = 0.0
        records = LabelTables(self.files.folder, self.settings.clusters)
        for statistics, log_prior in self.run.map(sweep, range(len(self.source)), label=f"sweep {number + 1}"):
            total.add(statistics)
            records.append(statistics.by_code, log_prior)
            label_bound += label_likelihood(model, statistics.by_code[None], log_prior[None])
        label_bound /= total.pixels
        bound = total.bound(model, tables) / total.pixels
        labels = number >= schedule.label_warm_up
        model = maximise(model, total, tables.centre, bags=texture, labels=labels)
        for _ in range(schedule.label_rounds - 1 if labels else 0):
            model = label_round(model, records)
        records.close()
        new = Progress(
            model, number + 1, bound if texture else None, label_bound, finished=number + 1 >= schedule.sweeps
        )
        metrics = {"bound" if texture else "bound_warm_up": bound, "label_bound": label_bound}
        metrics["clusters_used"] = used(total.by_code.sum(axis=0))
        if texture:
            metrics["bags_used"] = used(total.bags)
        if new.bound is not None and progress.bound is not None and progress.label_bound is not None:
            metrics["bound_change"] = relative_change(new.bound, progress.bound)
            metrics["label_bound_change"] = relative_change(label_bound, progress.label_bound)
            new.finished |= max(abs(metrics["bound_change"]), abs(metrics["label_bound_change"])) < schedule.tolerance
        self.run.log(metrics, step + number)
        return new

    def bags(self, sweep: int) -> Array:
        """Starting p(s|b) from windows of the maps that ``sweep`` left."""
        run = self.run
        indices = chosen_patches(len(self.source), run.generator(self.key, "sampled maps"))
        each = -(-SAMPLE_WINDOWS // len(indices))
        histograms = []
        for index in indices:
            shape = self.source[index].shape
            clusters = self.files.read(index, sweep).top.reshape(shape)
            generator = run.generator(self.key, "sampled windows", index)
            histograms.append(window_histograms(clusters, self.settings, each, generator))
        return initial_bags(np.concatenate(histograms), self.settings, run.generator(self.key, "bags"))


def relative_change(now: float, before: float) -> float:
    """(now - before) / |before|."""
    return (now - before) / max(abs(before), TINY)


def used(counts: Array) -> int:
    """How many of the parts hold at least a thousandth of the whole."""
    return int((counts >= 1e-3 * counts.sum()).sum())


def best_of(fits: Sequence[Progress]) -> Progress:
    """The fit with the highest bound; the first of equals."""
    return max(fits, key=lambda progress: -np.inf if progress.bound is None else progress.bound)


def infer(engine: Engine, model: BagModel, view: View, passes: int, tolerance: float) -> tuple[Any, float]:
    """q(l) (8, H, W) of one patch under fixed parameters, and the bound per pixel.

    Starts from the colours alone, then sweeps until the patch's bound settles, ``passes`` times at most. It depends on
    the patch and the parameters only.
    """
    tables = model.tables(engine.dtype, texture=False)
    result = engine.sweep(tables, view, None)
    bound = result.statistics.bound(model, tables) / result.statistics.pixels
    tables = model.tables(engine.dtype)
    for number in range(passes):
        result = engine.sweep(tables, view, result.state, labels=True)
        previous, bound = bound, result.statistics.bound(model, tables) / result.statistics.pixels
        if number and abs(relative_change(bound, previous)) < tolerance:
            break
    return result.q_label, bound
