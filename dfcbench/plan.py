"""A run before it starts: everything resolved, checked and named, so that it can be shown, hashed and found again."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dfcbench import __version__
from dfcbench.contest import FusionContest
from dfcbench.errors import UsageError
from dfcbench.method import Method, Needs, Params
from dfcbench.registry import Loaded

_SOFTWARE = ("mlflow", "numba", "numpy", "rasterio", "scikit-learn", "torch")


@dataclass(frozen=True)
class Plan:
    """What will run, on what, and where its submission will lie."""

    contest: FusionContest
    loaded: Loaded
    params: Params
    preset: str
    seed: int
    device: str
    workers: int
    submissions: Path

    @cached_property
    def method(self) -> Method:
        """The method, constructed and not fitted."""
        return self.loaded.method(self.params)

    @cached_property
    def needs(self) -> Needs:
        """What the method needs under these parameters."""
        return self.method.requires()

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All parameters, defaults included, as JSON values."""
        values: dict[str, Any] = self.params.model_dump(mode="json")
        return values

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by split of the data that the run depends on."""
        return self.contest.fingerprints(self.needs)

    @cached_property
    def key(self) -> str:
        """What makes this run this run: equal keys mean equal maps. 16 hexadecimal digits."""
        parts = {
            "track": self.contest.track,
            "split": self.contest.split,
            "limit": self.contest.limit,
            "data": self.fingerprints,
            "method": self.loaded.method.name,
            "version": self.loaded.method.version,
            "source": self.loaded.digest,
            "parameters": self.parameters,
            "seed": self.seed,
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def folder(self) -> Path:
        """The submission's folder."""
        name = f"{self.contest.split}-{self.contest.archive.identity.name}-seed{self.seed}-{self.key[:8]}"
        return self.submissions / f"track{self.contest.track}" / self.loaded.method.name / name

    @property
    def badges(self) -> list[str]:
        """What a reader of a board must know about how the result came about."""
        badges = []
        if self.needs.transductive:
            badges.append("transductive")
        if self.needs.labels == "high":
            badges.append("HR labels")
        return badges

    def describe(self) -> dict[str, Any]:
        """The content of submission.json, but for its format and status."""
        method, identity = self.loaded.method, self.contest.archive.identity
        return {
            "key": self.key,
            "track": self.contest.track,
            "split": self.contest.split,
            "method": {
                "name": method.name,
                "version": method.version,
                "summary": summary(method),
                "citation": method.citation,
                "origin": origin(self.loaded),
                "source_digest": self.loaded.digest,
            },
            "preset": self.preset,
            "parameters": self.parameters,
            "seed": self.seed,
            "needs": {
                "inputs": sorted(self.needs.inputs),
                "labels": self.needs.labels,
                "transductive": self.needs.transductive,
                "training": self.needs.training,
            },
            "badges": self.badges,
            "data": {
                "name": identity.name,
                "title": identity.title,
                "official": identity.official,
                "fingerprint": self.fingerprints[self.contest.split],
                "depends_on": self.fingerprints,
                "patches": len(self.contest.scored),
                "limit": self.contest.limit,
            },
            "software": software(),
            "commit": commit(),
            "device": self.device,
        }


def summary(method: type[Method]) -> str:
    """First line of the class docstring."""
    lines = (method.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def origin(loaded: Loaded) -> str:
    """Where the method came from, without the folders of the machine that it ran on."""
    return Path(loaded.origin).name if loaded.digest else loaded.origin


def resolve_parameters(
    method: type[Method], given: Mapping[str, Any], preset: str | None, *, demo: bool
) -> tuple[Params, str]:
    """Parameters from defaults, then the preset, then what was given; and the preset's name.

    Without a preset named: ``quick`` on the demo contest, ``published`` elsewhere. Raises UsageError for an unknown
    preset, and for an unknown or ill-typed parameter, with the valid ones and their defaults.
    """
    if preset is None:
        preset = "quick" if demo and "quick" in method.presets else "published"
    if preset not in method.presets and preset != "published":
        raise UsageError(f"{method.name} has no preset {preset!r}; it has {', '.join(method.presets)}.")
    values = {**method.presets.get(preset, {}), **given}
    try:
        return method.Params(**values), preset
    except ValidationError as error:
        fields = method.Params.model_fields
        valid = ", ".join(f"{name}={field.get_default()}" for name, field in fields.items()) or "none at all"
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{method.name}: {faults}. Its parameters and defaults: {valid}.") from error


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
