"""Weights from a local file: a state dict written by torch, or a safetensors file; checked against the network.

Neither runs code from the file: torch's are read with ``weights_only``, safetensors are a JSON header and raw numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfcbench.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

_NAMED = 4
"""Tensors that an error names one by one."""


def digest(path: str) -> str:
    """Hash of a file's content, 16 hexadecimal digits. Raises OSError if it cannot be read."""
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a file by name; a state dict under the key ``state_dict`` or ``model`` is found as well.

    Names that all begin with ``module.``, as those of a network trained in parallel, lose that. Raises UsageError if the
    file is not there, or holds something else.
    """
    import torch

    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(
            f"weights {file}: there is no such file. Give a state dict (.pt, .pth) or a .safetensors file."
        )
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            state: Any = load_file(file)
        except Exception as error:
            raise UsageError(
                f"weights {file}: is no sound safetensors file ({error}). Fetch or write it again."
            ) from error
    else:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UsageError(
                f"weights {file}: cannot be read as tensors alone ({type(error).__name__}). Save the network's "
                "state_dict(), not the network, with torch.save; or use a .safetensors file."
            ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    tensors = isinstance(state, Mapping) and all(isinstance(value, torch.Tensor) for value in state.values())
    if not tensors or not state:
        raise UsageError(f"weights {file}: holds no state dict, which is a mapping from names to tensors.")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return dict(state)


def load_into(network: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Give the network these weights, if they are all of them and nothing else.

    ``where`` names their origin. Raises UsageError that names what is missing, unexpected, of another shape, or not finite.
    """
    own = network.state_dict()
    faults = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in weights and weights[name].shape != own[name].shape
        ],
        "not finite": [name for name in own if name in weights and not _finite(weights[name])],
    }
    found = [f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names]
    if found:
        raise UsageError(
            f"weights {where} do not fit this network ({type(network).__name__}). {'; '.join(found)}. The file must come "
            "from the same network: same inputs, same parameters of the architecture."
        )
    network.load_state_dict(dict(weights))


def _finite(values: torch.Tensor) -> bool:
    """Whether all are. Narrow floats, which a .safetensors file may hold, know no such question, but most can be widened."""
    try:
        return bool((values.double() if values.is_floating_point() else values).isfinite().all())
    except NotImplementedError:
        return False


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
