"""What people already have, as methods: a scikit-learn classifier on pixels, a torch network.

    from dfcbench_methods.adapters import SklearnMethod, TorchMethod

Each is imported when it is asked for, so that a plug-in with the one does not load the libraries of the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pixels import PixelParams, SklearnMethod, SklearnParams
    from .torch_method import TorchMethod, TorchParams

__all__ = ["PixelParams", "SklearnMethod", "SklearnParams", "TorchMethod", "TorchParams"]

_HOMES = {
    "PixelParams": ".pixels",
    "SklearnMethod": ".pixels",
    "SklearnParams": ".pixels",
    "TorchMethod": ".torch_method",
    "TorchParams": ".torch_method",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name], __package__), name)
