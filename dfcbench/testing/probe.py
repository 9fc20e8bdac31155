"""A process that imports a method and constructs it, and reports what that took; ``declared`` starts it.

python -m dfcbench.testing.probe < order.json
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

HEAVY = ("jax", "matplotlib", "mlflow", "sklearn", "sklearnex", "tensorflow", "torch", "xgboost")
"""Packages that take half a second or more to import; what merely describes methods imports none of them."""

_TOLD = {"open": "opens", "subprocess.Popen": "starts", "os.mkdir": "makes", "socket.connect": "connects to"}
"""Audit events of a constructor that works, by what it then does."""


class Probe:
    """Notes what Python does while ``on``."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in _TOLD:
            return
        target = str(arguments[1] if event == "socket.connect" else arguments[0])
        if not (event == "open" and (target.endswith((".py", ".pyc", ".so", ".pyd")) or target.isdigit())):
            self.seen.append(f"{_TOLD[event]} {target}")


def main() -> None:
    """Report on the method of the order on stdin, as JSON on the last line of stdout."""
    from dfcbench.plan import resolve_parameters
    from dfcbench.registry import Registry

    order = json.load(sys.stdin)
    registry = Registry(tuple(map(Path, order["folders"])))
    before = set(sys.modules)
    loaded = registry.load(order["reference"])
    imported = sorted((set(HEAVY) - before) & set(sys.modules))
    params, _ = resolve_parameters(loaded.method, order["parameters"], order["preset"], demo=True)
    probe, modules, threads = Probe(), set(sys.modules), set(threading.enumerate())
    begin = time.process_time()
    probe.on = True
    method = loaded.method(params)
    probe.on = False
    seconds = time.process_time() - begin
    report = {
        "imported": imported,
        "did": probe.seen,
        "modules": sorted((set(HEAVY) - modules) & set(sys.modules)),
        "threads": len(set(threading.enumerate()) - threads),
        "seconds": seconds,
        "attributes": sorted(set(vars(method)) - {"params"}),
        "keeps_params": getattr(method, "params", None) is params,
    }
    print(f"\n{json.dumps(report)}")


if __name__ == "__main__":
    main()
