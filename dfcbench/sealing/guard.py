"""The harness's own rooms cannot be imported where a sealed method works: no scorer, no submissions, no boards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

OPEN = frozenset(
    {
        "answers",
        "archive",
        "contest",
        "errors",
        "files",
        "identity",
        "method",
        "packed",
        "patches",
        "plugin_source",
        "rasters",
        "records",
        "registry",
        "sampling",
        "scheme",
        "sealing",
        "sensors",
        "threads",
    }
)
"""Modules of dfcbench that a method's process needs: what methods import, and what that imports."""


class Guard:
    """Stands before all finders of modules and refuses what is not ``OPEN``."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ImportError for a room of the harness that is closed; else leave it to the other finders."""
        parts = name.split(".")
        if len(parts) > 1 and parts[0] == "dfcbench" and parts[1] not in OPEN:
            raise ImportError(
                f"{name}: is not there in a sealed run. A method imports dfcbench.method, patches, scheme, sensors, threads "
                "and errors.",
                name=name,
            )
        return None


def install() -> None:
    """Guard this process from now on."""
    finders: list[Any] = sys.meta_path
    finders.insert(0, Guard())
