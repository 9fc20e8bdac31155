"""TorchMethod: any network that labels pixels becomes a method, trained on SEN12MS's low-resolution labels.

A subclass says which network; data, training, validation against the hold-out scenes' labels, resume and prediction are
inherited. Savanna and Snow/Ice are ignored, as in Robinson et al. 2021, Table IV: a network has the eight scored classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from dfcbench.method import Contest, Field, Method, Needs, Params, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES

from .networks.optimisers import OptimiserName, ScheduleName
from .networks.torch_state import THREADS_TOLD, TRAINING_THREADS
from .pixel_draw import low
from .sen12ms import training_and_holdout

if TYPE_CHECKING:
    from torch import nn

    from .networks.data import Labels, LabelScore, Reader
    from .networks.optimisers import Schedule

_COUNTED_PATCHES = 512
"""Training patches whose labels tell the shares of the classes."""
_VALIDATED_TOGETHER = 16
"""Patches in a batch of validation on a GPU; on a CPU one by one is as fast."""


class TorchParams(Params):
    """Inputs and training. Defaults suit a network of one's own; the built-in networks have those published."""

    inputs: Literal["s2", "s1+s2"] = Field("s2", description="s2: ten surface bands; s1+s2: VV and VH before them")
    scaling: Literal["range", "moments"] = Field(
        "range", description="inputs in [0, 1] as in the organisers' code, or with mean 0 and deviation 1 besides"
    )
    steps: int = Field(5000, ge=1, description="batches at most")
    batch: int = Field(32, ge=2, description="crops in a batch")
    crop: int = Field(256, ge=16, description="side of the crops in pixels; a patch has 256")
    jitter: float = Field(
        0.0, ge=0, le=1, description="deviation of a random gain of each band of a crop: other air, season or angle"
    )
    optimiser: OptimiserName = Field("adamw", description="sgd is with momentum")
    learning_rate: float = Field(1e-3, gt=0, description="at the first step")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and rmsprop")
    weight_decay: float = Field(5e-4, ge=0, description="of the optimiser")
    schedule: ScheduleName = Field("cosine", description="of the learning rate: cosine and poly let it fall to 0")
    class_weights: Literal["none", "inverse", "root"] = Field(
        "none", description="weigh the loss by the inverse of a class's share of the LR labels, or by its root"
    )
    validate_every: int = Field(
        500, ge=0, description="steps between two validations on the hold-out scenes; 0: at the end"
    )
    validation_patches: int = Field(512, ge=1, description="patches of the hold-out scenes that are drawn for it")
    best_by: Literal["accuracy", "average_accuracy"] = Field(
        "accuracy", description="which accuracy on their LR labels tells the best network, which predicts"
    )
    patience: int = Field(0, ge=0, description="validations without a better one after which training ends; 0: never")
    max_minutes: float = Field(0.0, ge=0, description="training ends after so many minutes; 0: never")
    threads: int = Field(TRAINING_THREADS, ge=1, description=THREADS_TOLD)
    precision: Literal["mixed", "full"] = Field("mixed", description="mixed: half precision where the device is CUDA")
    weights: str = Field("", description="file to start from: a state dict of torch, or safetensors")
    weights_digest: str = Field("", description="of the content of that file; filled in by itself")

    @field_validator("weights")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        return value.strip()

    @model_validator(mode="before")
    @classmethod
    def _with_digests(cls, values: Any) -> Any:
        """A run is made by what is in a file, not by its name: every ``*_digest`` tells the content of its file."""
        from .networks.weight_files import digest

        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name in cls._files():
            path, told = values.get(name), values.get(f"{name}_digest")
            if not path or not isinstance(path, str):
                continue
            try:
                found = digest(path.strip())
            except OSError as error:
                raise ValueError(f"{name}: {path} cannot be read ({error.strerror})") from error
            if told and told != found:
                raise ValueError(f"{name}: the content of {path} is {found}, not {told}; leave {name}_digest out")
            values[f"{name}_digest"] = found
        return values

    @classmethod
    def _files(cls) -> list[str]:
        """Parameters that are paths of files whose content another one tells."""
        return [name.removesuffix("_digest") for name in cls.model_fields if name.endswith("_digest")]

    def keyed(self) -> dict[str, Any]:
        """Files by their content, wherever they lie."""
        return super().keyed() | dict.fromkeys(self._files(), "")


class TorchMethod(Method):
    """A network of pixels trained on SEN12MS with low-resolution labels."""

    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="low", training=True)
    Params: ClassVar[type[TorchParams]] = TorchParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {"steps": 300, "batch": 16, "crop": 64, "validate_every": 50, "validation_patches": 8},
    }
    params: TorchParams
    weights_: dict[str, NDArray[Any]]

    @abstractmethod
    def network(self, channels: int, classes: int) -> nn.Module:
        """The network: images (N, channels, H, W), H and W of any size -> logits (N, classes, H, W)."""

    def rate_factors(self) -> Mapping[str, float]:
        """Factors of the learning rate, by the beginning of parameters' names."""
        return {}

    def start(self, network: nn.Module) -> None:
        """Give a new network its initial weights: those of the file ``weights``, if there is one."""
        from .networks.weight_files import load_into, read_weights

        if self.params.weights:
            load_into(network, read_weights(self.params.weights), self.params.weights)

    def requires(self) -> Needs:
        """Radar only if it is among the inputs."""
        return Needs(inputs=frozenset(self.params.inputs.split("+")), labels="low", training=True)

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``weights_`` of the best network, and ``moments_`` of the inputs, or None."""
        from .networks.data import LabelScore

        training, holdout = training_and_holdout(contest.training, run.generator("holdout"))
        holdout = holdout.subset(self.params.validation_patches, run.generator(self.name, "validation"))
        together = 1 if run.device == "cpu" else _VALIDATED_TOGETHER

        def watched() -> LabelScore | None:
            return LabelScore(holdout, self._reader(), run, together) if len(holdout) else None

        self.learn(training, low, run, self.name, watched=watched)

    def learn(
        self,
        training: PatchSet,
        labels: Labels,
        run: RunContext,
        stage: str,
        *,
        before: Self | None = None,
        watched: Callable[[], LabelScore | None] = lambda: None,
    ) -> None:
        """Train on these patches' ``labels``; leaves what ``fit`` does. ``stage`` keeps trainings of one run apart.

        Goes on from the network that another one learned ``before``, with its scaling. ``watched`` gives what validates
        the network, once its inputs are known; without it the last network stays, not the best.
        """
        from .networks.data import Crops, label_shares, moments
        from .networks.torch_state import weights_of, with_weights
        from .networks.training import train

        params = self.params
        shares = label_shares(training.subset(_COUNTED_PATCHES, run.generator(stage, "labels")), run, labels)
        told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(SCORED_NAMES, shares, strict=True))
        run.message(f"{stage}: {len(training)} training patches; their labels: {told}")
        self.moments_ = None
        if before is not None:
            self.moments_ = before.moments_
        elif params.scaling == "moments":
            self.moments_ = moments(training, self._reader(), run, run.generator(stage, "moments"))
        read = self._reader()
        network = self._new(run)
        if before is not None:
            network = with_weights(network, before.weights_, run.device)
        else:
            self.start(network)
            if params.weights:
                run.message(f"{stage}: starts from {params.weights}, content {params.weights_digest}")
        trained = train(
            network,
            Crops(training, read, params.crop, params.batch, params.jitter, labels),
            self._schedule(),
            run,
            stage,
            validate=watched(),
            class_weights=self._class_weights(shares),
        )
        self.weights_ = weights_of(trained)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Class probabilities of each patch."""
        from .networks.torch_state import threads

        mapped = self.mapper(run)

        def one(patch: Patch) -> Prediction:
            return Prediction(patch.id, mapped(patch))

        with threads(1):  # threads over patches scale, threads inside one do not
            yield from run.map(one, patches)

    def mapper(self, run: RunContext) -> Callable[[Patch], NDArray[np.float32]]:
        """What gives the class probabilities of a patch, (8, H, W), on the run's device."""
        import torch

        from .networks.torch_state import with_weights

        read = self._reader()
        network = with_weights(self._new(run), self.weights_, run.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def mapped(patch: Patch) -> NDArray[np.float32]:
            x = torch.from_numpy(read(patch)[np.newaxis]).to(run.device, memory_format=torch.channels_last)
            with torch.inference_mode():
                p: NDArray[np.float32] = network(x)[0].float().softmax(dim=0).cpu().numpy()
            return p

        return mapped

    def _reader(self) -> Reader:
        from .networks.data import Reader

        return Reader(self.params.inputs, getattr(self, "moments_", None))

    def _new(self, run: RunContext) -> nn.Module:
        """The network with weights drawn for this run."""
        from .networks.torch_state import initialised

        channels = self._reader().channels
        return initialised(lambda: self.network(channels, len(SCORED_CODES)), run.generator(self.name, "weights"))

    def _schedule(self) -> Schedule:
        from .networks.optimisers import Schedule

        params = self.params
        return Schedule(
            steps=params.steps,
            rate=params.learning_rate,
            weight_decay=params.weight_decay,
            optimiser=params.optimiser,
            momentum=params.momentum,
            schedule=params.schedule,
            factors=self.rate_factors(),
            validate_every=params.validate_every,
            patience=params.patience,
            best_by=params.best_by,
            max_minutes=params.max_minutes,
            mixed=params.precision == "mixed",
            threads=params.threads,
        )

    def _class_weights(self, shares: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """By the parameter; those of the classes that occur have the mean 1, others count nothing anyway."""
        if self.params.class_weights == "none":
            return None
        power = 1.0 if self.params.class_weights == "inverse" else 0.5
        occurs = shares > 0
        weights = np.where(occurs, np.maximum(shares, 1e-6) ** -power, 0.0)
        mean_one: NDArray[np.float64] = weights / weights[occurs].mean()
        return mean_one
