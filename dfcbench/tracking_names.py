"""How a run appears in MLflow: names of experiments, runs and metrics, its parameters, tags and points.

The names are stable, so that MLflow's compare view and charts work across versions. Nothing here imports mlflow.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dfcbench.scoring import Scores
from dfcbench.submission import Submission

KEY_TAG = "dfcbench.key"
FAMILY_TAG = "dfcbench.family"
"""Shared by runs that differ in nothing but their seed."""
PARENT_TAG = "mlflow.parentRunId"
"""What MLflow's UI nests runs by."""
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "average_accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
}
"""MLflow 3's UI otherwise opens on pages for language models."""

Point = tuple[str, float, int, int]
"""One value of a metric: name, value, milliseconds since 1970, step."""

# MLflow's limits, mlflow.utils.validation (3.x).
_PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
_KEY_LENGTH = 250

_FINAL = frozenset(
    {
        "average_accuracy",
        "average_accuracy_low",
        "average_accuracy_high",
        "overall_accuracy",
        "kappa",
        "mean_iou",
        "macro_f1",
    }
)
_FINAL_FOLDERS = frozenset({"producers_accuracy", "users_accuracy", "iou"})


def experiment_name(meta: Mapping[str, Any]) -> str:
    """``dfcbench/<data name>/track1-test``."""
    return f"dfcbench/{meta['data']['name']}/track{meta['track']}-{meta['split']}"


def run_name(meta: Mapping[str, Any]) -> str:
    """Method and short key."""
    return f"{meta['method']['name']}-{str(meta['key'])[:8]}"


def metric_values(scores: Scores) -> dict[str, float]:
    """Scores under the names that they have in MLflow; what is undefined is left out. These names never change."""
    values: dict[str, float | None] = {
        "average_accuracy": scores.average_accuracy,
        "overall_accuracy": scores.overall_accuracy,
        "kappa": scores.kappa,
        "mean_iou": scores.mean_iou,
        "macro_f1": scores.macro_f1,
    }
    if scores.average_accuracy_interval:
        values["average_accuracy_low"], values["average_accuracy_high"] = scores.average_accuracy_interval
    for name, entry in scores.classes.items():
        word = name.replace("/", "_")
        values[f"producers_accuracy/{word}"] = entry.producers_accuracy
        values[f"users_accuracy/{word}"] = entry.users_accuracy
        values[f"iou/{word}"] = entry.iou
    return {name: value for name, value in values.items() if value is not None}


def parts(meta: Mapping[str, Any]) -> list[str]:
    """Keys of the runs that a run is composed of."""
    told = meta.get("parts")
    return [str(key) for key in told.values()] if isinstance(told, Mapping) else []


def family(meta: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of all that decides a run's result, but for the seed."""
    data = meta["data"]
    decisive = [meta["method"], meta["parameters"], data["fingerprint"], data.get("depends_on"), data.get("limit")]
    return hashlib.blake2b(json.dumps(decisive, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def tags(meta: Mapping[str, Any]) -> dict[str, str]:
    method, data = meta["method"], meta["data"]
    values = {
        KEY_TAG: meta["key"],
        FAMILY_TAG: family(meta),
        "dfcbench.method": method["name"],
        "dfcbench.method_version": method["version"],
        "dfcbench.preset": meta.get("preset"),
        "dfcbench.seed": meta["seed"],
        "dfcbench.track": meta["track"],
        "dfcbench.split": meta["split"],
        "dfcbench.data": data["name"],
        "dfcbench.fingerprint": data["fingerprint"],
        "dfcbench.official": data["official"],
        "dfcbench.limit": data.get("limit"),
        "dfcbench.device": meta.get("device"),
        "dfcbench.reconstruction": method.get("reconstruction"),
        "dfcbench.badges": ", ".join(meta["badges"]) or None,
        "mlflow.source.name": "dfcbench",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": meta.get("commit"),
    }
    values |= {f"dfcbench.software.{name}": version for name, version in meta.get("software", {}).items()}
    return {name: _word(value)[:TAG_LENGTH] for name, value in values.items() if value is not None}


def parameters(meta: Mapping[str, Any]) -> dict[str, str]:
    """The method's parameters, nested ones with dotted names, and the seed unless the method has one of its own."""
    flat = {"seed": meta["seed"], **dict(_flattened(meta["parameters"]))}
    return {_name(key): _word(value)[:_PARAMETER_LENGTH] for key, value in flat.items()}


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _name(text: str) -> str:
    """A name that MLflow takes: letters, digits and ``_ - . space : /``, no empty or dotted step of a path."""
    plain = re.sub(r"[^A-Za-z0-9_\-. :/]", "_", text)
    steps = [step.strip() for step in plain.split("/")]
    return "/".join(step for step in steps if step.strip("."))[:_KEY_LENGTH] or "_"


def live_name(name: str) -> str:
    """A live metric must not hide a final score of the same name."""
    plain = _name(name)
    return f"method/{plain}" if plain in _FINAL or plain.split("/")[0] in _FINAL_FOLDERS else plain


def history(submission: Submission, steps: Counter[str]) -> list[Point]:
    """metrics.jsonl as points; ``steps`` comes back as the number of values of each name."""
    points = []
    for entry in submission.metric_history():
        name, step = entry["name"], entry.get("step")
        seconds = entry.get("time")
        when = int(1000 * seconds) if isinstance(seconds, int | float) else now()
        points.append((live_name(name), float(entry["value"]), when, steps[name] if step is None else int(step)))
        steps[name] += 1
    return points


def now() -> int:
    """Milliseconds since 1970."""
    return int(1000 * time.time())
