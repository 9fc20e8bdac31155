"""All that a method's author imports: Method, Params, Field, Needs, Prediction, RunContext, and the contest's type.

A method is a class with a name, needs, parameters, ``fit`` and ``predict``. It never prints, never seeds globally and
never touches MLflow: ``RunContext`` gives it random generators, progress, metrics, checkpoints and worker threads.
"""

from __future__ import annotations

import logging
import os
import pickle
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dfcbench.errors import ContractError, NotFittedError
from dfcbench.files import write_bytes
from dfcbench.patches import LabelledPatchSet, Patch, PatchSet
from dfcbench.scheme import CODES, NO_LABEL, SCORED_CODES
from dfcbench.threads import Door, in_order

__all__ = [
    "Answer",
    "Contest",
    "Field",
    "Method",
    "Needs",
    "Params",
    "Part",
    "PartMaps",
    "Patch",
    "PatchSet",
    "Prediction",
    "RunContext",
]

log = logging.getLogger("dfcbench")

Item = TypeVar("Item")
Result = TypeVar("Result")

MODALITIES = frozenset({"s1", "s2"})


class Params(BaseModel):
    """Base of a method's parameters: typed, immutable, and closed to unknown keys.

    Field defaults are the constants of the publication; ``Field(..., description=...)`` becomes the help text of
    ``dfcbench methods show``.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    def keyed(self) -> dict[str, Any]:
        """Parameters as they enter a run's key, JSON values by name: runs of equal keys make equal maps.

        All of them as they are; override it where one says nothing about the maps, such as the path of a file of which
        another parameter tells the content.
        """
        values: dict[str, Any] = self.model_dump(mode="json")
        return values


@dataclass(frozen=True)
class Needs:
    """What a method asks of the contest; the harness shows it that and nothing more.

    inputs: any of ``s1`` and ``s2``. labels: ``none``, ``low`` (low-resolution labels) or ``high`` (the high-resolution
    labels that Track 2 shows). transductive: it is fitted on the images that are scored. training: it uses SEN12MS.
    prior: it uses ``contest.label_prior``, p(HR | LR). feedback: it asks the contest's server for scores, and so is tuned
    on the leaderboard.
    """

    inputs: frozenset[str] = MODALITIES
    labels: Literal["none", "low", "high"] = "low"
    transductive: bool = False
    training: bool = False
    prior: bool = False
    feedback: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", frozenset(self.inputs))
        if not self.inputs <= MODALITIES:
            raise ContractError(f"Needs(inputs={sorted(self.inputs)}): inputs are any of 's1' and 's2'.")
        if self.labels not in ("none", "low", "high"):
            raise ContractError(f"Needs(labels={self.labels!r}): labels are 'none', 'low' or 'high'.")


FEEDBACK_LIMIT = 10
"""Answers that the contest's server gave a team in the test phase."""


@dataclass(frozen=True)
class Answer:
    """A server's answer, as fractions; ``producers_accuracy`` by ``SCORED_CODES``, None for classes that are absent."""

    average_accuracy: float | None
    producers_accuracy: tuple[float | None, ...]


@dataclass(frozen=True)
class Part:
    """Another method's run that a method builds upon: the harness makes it, or finds it finished, before ``fit``.

    method: name of a method, or the folder of a finished submission. parameters: those that differ from the preset.
    split: where it is run; None for the split that is scored.
    """

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None


class PartMaps(Protocol):
    """The maps of a part, by patch id, and what its method learned."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the patches that are mapped."""
        ...

    def probabilities(self, patch_id: str) -> NDArray[np.float32]:
        """Probabilities (8, H, W) over ``SCORED_CODES``; 1 for the label where the part predicts labels only."""
        ...

    def labels(self, patch_id: str) -> NDArray[np.uint8]:
        """Codes (H, W)."""
        ...

    @property
    def learned(self) -> Path:
        """Folder of what the part's method learned, for ``load`` of the same method."""
        ...


@dataclass(frozen=True)
class Prediction:
    """The map of one patch: probabilities (8, H, W) over ``SCORED_CODES``, or codes 1..10 (H, W) of any integer type.

    A code outside the scored classes (0, 3, 8) is allowed and counts as an error of the true class.
    """

    patch_id: str
    values: NDArray[Any]

    def labels(self) -> NDArray[np.uint8]:
        """Codes (H, W), uint8; the most probable class where probabilities were given, the first one on ties.

        Raises ContractError if the values are neither a finite (8, H, W) array nor integer codes within the scheme.
        """
        values = np.asarray(self.values)
        where = f"prediction for {self.patch_id}"
        if values.ndim == 3 and values.shape[0] == len(SCORED_CODES):
            if not np.issubdtype(values.dtype, np.floating):
                raise ContractError(f"{where}: probabilities are {values.dtype}, not floating point.")
            if not np.isfinite(values).all():
                raise ContractError(f"{where}: probabilities hold NaN or infinity.")
            if values.min() < 0:
                raise ContractError(f"{where}: probabilities fall below 0 (minimum {values.min():.3g}).")
            best: NDArray[np.uint8] = np.asarray(SCORED_CODES, np.uint8)[values.argmax(axis=0)]
            return best
        if values.ndim == 2:
            if not np.issubdtype(values.dtype, np.integer):
                raise ContractError(f"{where}: labels are {values.dtype}, not integers.")
            if values.size and (values.min() < NO_LABEL or values.max() > max(CODES)):
                raise ContractError(
                    f"{where}: codes run from {values.min()} to {values.max()}; the scheme knows 0..{max(CODES)}."
                )
            return values.astype(np.uint8)
        raise ContractError(
            f"{where}: shape {values.shape}; expected ({len(SCORED_CODES)}, H, W) probabilities or (H, W) codes."
        )


class Contest(Protocol):
    """What a method sees. What the track hides is not there: asking raises an error that names the rule."""

    @property
    def track(self) -> int:
        """1 or 2."""
        ...

    @property
    def split(self) -> str:
        """The split that is scored: ``validation`` or ``test`` (``regional`` for the release by region)."""
        ...

    @property
    def training(self) -> PatchSet:
        """SEN12MS patches with low-resolution labels; only for a method whose needs say ``training``."""
        ...

    @property
    def validation(self) -> PatchSet:
        """Validation images with low-resolution labels, never with high-resolution ones."""
        ...

    @property
    def labelled(self) -> LabelledPatchSet:
        """Validation patches with high-resolution labels: Track 2 only."""
        ...

    @property
    def target(self) -> PatchSet:
        """The images that are scored, with low-resolution labels: only for methods declared transductive."""
        ...

    @property
    def label_prior(self) -> NDArray[np.float64]:
        """p(high-resolution class | low-resolution class), shape (10, 8): rows CODES, columns SCORED_CODES.

        Only for a method whose needs say ``prior``.
        """
        ...

    @property
    def feedback(self) -> Server:
        """The contest's server: only for methods whose needs say ``feedback``."""
        ...


class Server(Protocol):
    """The contest's server, which scores maps of the whole split and answers ``FEEDBACK_LIMIT`` times at most."""

    @property
    def remaining(self) -> int:
        """How many answers are left."""
        ...

    def __call__(self, predictions: Iterable[Prediction]) -> Answer:
        """The answer for these maps, one per patch of the split; maps asked for again cost nothing."""
        ...


class Reporter(Protocol):
    """Where a run's messages go: the terminal, the log file, MLflow, or nowhere."""

    def advance(self, label: str, done: int, total: int | None) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int | None) -> None: ...


class _Silent:
    def advance(self, label: str, done: int, total: int | None) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        pass


class RunContext:
    """What the harness gives a method at work. With its defaults it serves a notebook or a test as well."""

    def __init__(
        self,
        *,
        seed: int = 0,
        device: str = "cpu",
        workers: int = 1,
        scratch: Path | None = None,
        artifacts: Path | None = None,
        reporter: Reporter | None = None,
        parts: Mapping[str, PartMaps] | None = None,
        door: Door | None = None,
    ) -> None:
        self.seed = seed
        self.device = device
        self.workers = workers
        self._scratch = scratch
        self._artifacts = artifacts
        self._reporter: Reporter = reporter or _Silent()
        self.parts: Mapping[str, PartMaps] = parts or {}
        """Maps of the method's parts, by the names that ``Method.parts`` gave them."""
        self._door = door

    def __getstate__(self) -> dict[str, Any]:
        """In a function that travels to another machine, it works there alone and reports to nobody."""
        return {**vars(self), "workers": 1, "_reporter": _Silent(), "_door": None}

    @property
    def distributed(self) -> bool:
        """Whether ``map`` sends its work to other machines: what its functions hold is pickled then."""
        return self._door is not None

    def generator(self, *keys: int | str) -> np.random.Generator:
        """A random generator that depends on the run's seed and on ``keys`` alone.

        The same keys give the same stream, whatever was drawn before: use the patch's id as a key where each patch
        needs draws of its own, and a resumed run draws what an uninterrupted one would have drawn.
        """
        words = [k if isinstance(k, int) else zlib.crc32(k.encode()) for k in keys]
        return np.random.default_rng([self.seed, *words])

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], *, label: str = "") -> Iterator[Result]:
        """``function`` over ``items`` in ``workers`` threads, or on a cluster; results come in the order of the items.

        So that both give the same, ``function`` returns what it finds and changes nothing that others see, but for files
        below ``scratch``. What it holds must be picklable: arrays, parameters, patches, models. Only a few results wait at a
        time, so memory does not grow with the number of items. Linear algebra inside is held to one thread per worker. With
        a ``label``, progress is reported.
        """
        from threadpoolctl import threadpool_limits

        total = len(items) if isinstance(items, Sized) else None
        with threadpool_limits(limits=1):
            results = in_order(function, items, self.workers, self._door)
            yield from self.progress(results, label=label, total=total) if label else results

    def progress(self, items: Iterable[Item], *, label: str, total: int | None = None) -> Iterator[Item]:
        """Pass ``items`` on, reporting how many are done under ``label``."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        self._reporter.advance(label, 0, total)
        for done, item in enumerate(items, start=1):
            yield item
            self._reporter.advance(label, done, total)

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record live metrics; names are lower case words joined by underscores, values are finite numbers."""
        self._reporter.metrics({name: float(value) for name, value in metrics.items()}, step)

    def message(self, text: str) -> None:
        """Write a line to the run's log."""
        log.info(text)

    @property
    def scratch(self) -> Path:
        """A folder of this run for the method's own temporary files; removed when the run is finished."""
        if self._scratch is None:
            import tempfile

            self._scratch = Path(tempfile.mkdtemp(prefix="dfcbench-"))
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def artifact(self, name: str) -> Path:
        """Path of a file that is kept with the submission and shown in MLflow, such as a figure."""
        if os.sep in name or name.startswith("."):
            raise ContractError(f"artifact({name!r}): give a plain file name.")
        folder = self._artifacts or self.scratch
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def save_checkpoint(self, name: str, state: Any) -> None:
        """Keep ``state`` (anything picklable) under ``name`` so that a killed run can go on from it; atomic."""
        data = pickle.dumps(state, protocol=5)
        write_bytes(self.scratch / f"{name}.checkpoint", zlib.crc32(data).to_bytes(4, "big") + data)

    def load_checkpoint(self, name: str) -> Any | None:
        """The state last saved under ``name``, or None if there is none or it is damaged."""
        path = self.scratch / f"{name}.checkpoint"
        if not path.exists():
            return None
        content = path.read_bytes()
        if zlib.crc32(content[4:]).to_bytes(4, "big") != content[:4]:
            log.warning("%s is damaged; that stage starts anew.", path)
            return None
        try:
            return pickle.loads(content[4:])
        except Exception as error:  # whatever another version of a library, or another machine, makes of it
            log.warning("%s cannot be restored (%s); that stage starts anew.", path, error)
            return None


class Method(ABC):
    """A land-cover mapping method: subclass it, give it a name, needs and parameters, and fill ``fit`` and ``predict``.

    The first line of the class docstring is its summary. The constructor only stores. What ``fit`` learns goes into
    attributes whose names end in an underscore; the harness saves those, so a run killed after ``fit`` resumes there.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs()
    citation: ClassVar[str] = ""
    reconstruction: ClassVar[bool] = False
    """Whether it re-implements an entry of which little is public: faithful to what is known, chosen sensibly elsewhere.

    Boards show that badge, and the paper's tables mark the row. The class docstring then tells, below its summary, what
    is known and what was chosen; ``citation`` names the source of what is known."""
    Params: ClassVar[type[Params]] = Params
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"published": {}, "quick": {}}
    """Overrides of the parameters' defaults by preset; ``published`` is used on real data, ``quick`` on the demo."""

    def __init__(self, params: Any = None) -> None:
        self.params = self.Params() if params is None else params

    if not TYPE_CHECKING:  # for mypy, what is not there stays an error

        def __getattr__(self, name: str) -> Any:
            """Called for attributes that are not there: those that end in an underscore come with ``fit``."""
            if name.endswith("_") and not name.startswith("_"):
                raise NotFittedError(
                    f"{type(self).__name__}.{name} is what fit learns, and this one is not fitted. Call fit first, or "
                    "load what a run has learned."
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def requires(self) -> Needs:
        """The needs under these parameters; override it where a parameter changes them."""
        return self.needs

    def parts(self) -> Mapping[str, Part]:
        """Other methods' runs that this one builds upon, by names of its own; found in ``run.parts``."""
        return {}

    @abstractmethod
    def fit(self, contest: Contest, run: RunContext) -> None:
        """Learn from what the contest shows."""

    @abstractmethod
    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Yield one Prediction per patch, in any order. The harness writes each at once; after a kill it asks again
        for the missing patches only, so a patch's map must not depend on which others are asked for."""

    def save(self, folder: Path) -> None:
        """Keep what ``fit`` learned in ``folder``: all attributes whose names end in one underscore."""
        learned = {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        write_bytes(folder / "fitted.pkl", pickle.dumps(learned, protocol=5))

    def load(self, folder: Path) -> None:
        """Restore what ``save`` kept."""
        vars(self).update(pickle.loads((folder / "fitted.pkl").read_bytes()))
