"""Weights from a local file: a state dict written by torch, or a safetensors file; checked against the network.

Neither runs code from the file: torch's are read with ``weights_only``, safetensors are a JSON header and raw numbers
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfcbench.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_MOST_HEADER = 100_000_000
"""Bytes of a safetensors header, at most: the format's own limit."""
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
        state: Any = _read_safetensors(file)
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
        "not finite": [name for name in own if name in weights and not weights[name].isfinite().all()],
    }
    found = [f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names]
    if found:
        raise UsageError(
            f"weights {where} do not fit this network ({type(network).__name__}). {'; '.join(found)}. The file must come "
            "from the same network: same inputs, same parameters of the architecture."
        )
    network.load_state_dict(dict(weights))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    import torch

    def broken(reason: str) -> UsageError:
        return UsageError(f"weights {file}: is no sound safetensors file ({reason}). Fetch or write it again.")

    content = bytearray(file.read_bytes())
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_MOST_HEADER, len(content) - 8):
        raise broken("its header is longer than the file")
    try:
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        entries = [
            (name, _TYPES[entry["dtype"]], [int(n) for n in entry["shape"]], *map(int, entry["data_offsets"]))
            for name, entry in header.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken(f"header: {type(error).__name__} {error}") from error
    tensors = {}
    start = 8 + length
    for name, kind, shape, begin, end in entries:
        dtype = getattr(torch, kind)
        count = 1
        for n in shape:
            count *= n
        if min([*shape, begin]) < 0 or end - begin != count * dtype.itemsize or start + end > len(content):
            raise broken(f"{name} lies outside of it, or is not as long as its shape")
        part = content[start + begin : start + end]
        flat = torch.frombuffer(part, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape)
    return tensors
