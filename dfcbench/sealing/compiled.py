"""Machine code that numba has compiled before, copied to where a sealed method looks for it.

A sealed process writes to no cache that outlives it: another run would execute what it finds there. It gets a copy of
what runs without a seal have left, and compiles the rest for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

_KINDS = ("*.nbi", "*.nbc")
_PYCACHE = "__pycache__"


def hand_over(package: Path, cache: Path) -> None:
    """Copy what numba keeps for the modules in ``package`` to the folder ``cache``, as its ``NUMBA_CACHE_DIR`` lays it out.

    What is missed is compiled anew, which costs time and nothing else.
    """
    configured = os.environ.get("NUMBA_CACHE_DIR")
    for text, folders, _ in os.walk(package):
        folders[:] = [name for name in folders if name != _PYCACHE and not name.startswith(".")]
        folder = Path(text).absolute()
        name = f"{folder.name}_{hashlib.sha1(str(folder).encode(), usedforsecurity=False).hexdigest()}"
        source = Path(configured, name) if configured else folder / _PYCACHE
        found = [path for kind in _KINDS for path in source.glob(kind)]
        if found:
            (cache / name).mkdir(parents=True, exist_ok=True)
        for path in found:
            with contextlib.suppress(OSError):
                shutil.copyfile(path, cache / name / path.name)
