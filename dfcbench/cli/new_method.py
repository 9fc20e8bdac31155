"""Files that ``dfcbench methods new`` writes: a method that is small, complete and runs as it is, to be changed."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

from dfcbench.errors import DataError, UsageError
from dfcbench.files import unwritable

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Kind(StrEnum):
    """What a new method is made from."""

    plain = "plain"
    sklearn = "sklearn"
    torch = "torch"


_PLAIN = '''\
"""A method of its own: what it needs, its parameters, what it learns and how it maps."""

import numpy as np
from dfcbench.method import Field, Method, Needs, Params, Prediction


class @Class@Params(Params):
    ndwi: float = Field(0.1, description="water where (B3 - B8) / (B3 + B8) is above this")


class @Class@(Method):
    """Water by its NDWI; elsewhere the low-resolution label."""

    name = "@name@"
    needs = Needs(inputs={"s2"}, labels="low")  # the rest is withheld; see also training, transductive, prior
    Params = @Class@Params

    def fit(self, contest, run):
        """Keep what is learned in attributes whose names end in _, from contest.training or contest.target."""

    def predict(self, patches, run):
        """Codes (H, W), or probabilities (8, H, W) of the scored classes."""
        for patch in patches:
            green, nir = patch.s2[2].astype(float), patch.s2[7].astype(float)
            water = green - nir > self.params.ndwi * (green + nir)
            yield Prediction(patch.id, np.where(water, 10, patch.low))
'''

_SKLEARN = '''\
"""A scikit-learn classifier on pixels; data, features, parameters and maps are inherited."""

from dfcbench.method import Field
from dfcbench_methods.adapters import SklearnMethod, SklearnParams


class @Class@Params(SklearnParams):
    trees: int = Field(50, ge=1, description="of the forest")


class @Class@(SklearnMethod):
    """Extremely randomised trees on the pixels' bands, learned from LR labels of SEN12MS."""

    name = "@name@"
    Params = @Class@Params

    def classifier(self, run):
        """Anything with fit(x, y), and predict_proba(x) or predict(x); classes are 0 to 7."""
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(self.params.trees, min_samples_leaf=20, random_state=run.seed, n_jobs=run.workers)
'''

_TORCH = '''\
"""A torch network; data, training, validation, resume, parameters and maps are inherited."""

from dfcbench.method import Field
from dfcbench_methods.adapters import TorchMethod, TorchParams


class @Class@Params(TorchParams):
    width: int = Field(32, ge=1, description="channels of the hidden layers")


class @Class@(TorchMethod):
    """Two convolutions of 3 x 3 pixels, trained on LR labels of SEN12MS."""

    name = "@name@"
    Params = @Class@Params

    def network(self, channels, classes):
        """Images (N, channels, H, W) -> logits (N, classes, H, W)."""
        from torch import nn

        width = self.params.width
        return nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, classes, 1),
        )
'''

_TEMPLATES = {Kind.plain: _PLAIN, Kind.sklearn: _SKLEARN, Kind.torch: _TORCH}


def class_name(name: str) -> str:
    """``my-forest`` -> ``MyForest``; with ``Mapping`` behind it where that is another thing's name in such a file."""
    words = "".join(word.capitalize() for word in name.split("-"))
    own = {word for template in _TEMPLATES.values() for word in re.findall(r"\b[A-Z]\w+", template)}
    return words + "Mapping" if words in own or f"{words}Params" in own or keyword.iskeyword(words) else words


def write_method(name: str, kind: Kind, out: Path | None, taken: Collection[str]) -> tuple[Path, str]:
    """Write a new method to ``out``, by default ``<name>.py`` here; returns the path and the name of its class.

    Raises UsageError if the name is no name or ``taken``, or if the file is there already or would hide a Python
    package from files beside it; DataError if there is no such folder or the disk refuses.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r}: a method's name is lower case words joined by hyphens, such as my-forest.")
    if name in taken:
        raise UsageError(
            f"There is a method {name} already; `dfcbench methods show {name}` tells where. Choose another."
        )
    path = Path(f"{name.replace('-', '_')}.py") if out is None else out.expanduser()
    if path.suffix != ".py":
        raise UsageError(f"{path}: a method is a Python file; give --out a name that ends in .py.")
    if _hides_a_module(path):
        raise UsageError(f"{path}: would hide the Python module {path.stem}. Choose another name, or --out FILE.")
    text = _TEMPLATES[kind].replace("@Class@", class_name(name)).replace("@name@", name)
    made = False
    try:
        with path.open("x", encoding="utf-8") as file:
            made = True
            file.write(text)
    except FileExistsError as error:
        raise UsageError(
            f"{path}: is there already, and is left as it is. Choose another name, or --out FILE."
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no folder {path.parent}. Make it first, or choose another --out.") from error
    except OSError as error:
        if made:
            path.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    return path, class_name(name)


def _hides_a_module(path: Path) -> bool:
    """Whether a Python module has the file's name; the program itself is the module ``__main__``."""
    stem = path.stem
    return stem == "__main__" or (stem.isidentifier() and importlib.util.find_spec(stem) is not None)
