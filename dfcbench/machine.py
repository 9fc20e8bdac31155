"""What a run finds on its machine: a device to run on, library versions, the commit of the checkout."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from dfcbench import __version__
from dfcbench.errors import UsageError

_SOFTWARE = ("mlflow", "numba", "numpy", "rasterio", "scikit-image", "scikit-learn", "scikit-learn-intelex", "torch")


def resolve_device(device: str) -> str:
    """``auto`` -> ``cuda`` if torch can use one, else ``cpu``. Raises UsageError if ``cuda`` is missing."""
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: choose auto, cpu, cuda, or one GPU as cuda:N.")
    if kind == "cpu":
        return "cpu"
    available = _cuda_devices()
    if kind == "auto":
        return "cuda" if available else "cpu"
    number = device.partition(":")[2] or "0"
    if not number.isdigit() or int(number) >= available:
        raise UsageError(f"--device {device}: torch sees {available} CUDA device(s) here. Use --device cpu or auto.")
    return device


def _cuda_devices() -> int:
    """How many CUDA devices torch can use; torch is imported only where a driver is present."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    try:
        ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return 0
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def software() -> dict[str, str]:
    """Versions of what a result may depend on."""
    versions = {"dfcbench": __version__, "python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def commit() -> str | None:
    """Commit of the checkout that dfcbench runs from, with ``+`` behind it if files differ; None if installed."""
    top = Path(__file__).resolve().parent.parent
    if not (top / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "-C", str(top), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "-C", str(top), "status", "--porcelain", "--untracked-files=no", "--", "dfcbench", "methods"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if head.returncode or changes.returncode:
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")
