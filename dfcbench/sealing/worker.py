"""What a method's process does once it is sealed: load the method, and obey the harness until it says ``end``."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from dfcbench import registry
from dfcbench.answers import predicted
from dfcbench.errors import ContractError, DfcbenchError
from dfcbench.method import Method, Needs, Prediction, RunContext
from dfcbench.plugin_source import Sketch
from dfcbench.sealing import failures, guard, locks
from dfcbench.sealing.door import Modules
from dfcbench.sealing.shown import ShownContest, ShownMaps, asking, sendable
from dfcbench.sealing.wire import Channel, Ended, Message

log = logging.getLogger("dfcbench")


def work(commands: socket.socket, service: socket.socket, orders: Mapping[str, Any], sealed: Mapping[str, Any]) -> None:
    """Obey commands from one channel and answer, ask and report on the other, until told to end."""
    guard.install()
    if orders["kernel"]:
        locks.install()
    orders_in, channel = Channel(commands), Channel(service)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(_Log(channel))
    worker = _Worker(channel, orders)
    doing: dict[str, Callable[[Message], dict[str, Any] | None]] = {
        "describe": worker.describe,
        "parameters": worker.parameters,
        "begin": worker.begin,
        "fit": worker.fit,
        "save": worker.save,
        "load": worker.load,
        "predict": worker.predict,
    }
    try:
        channel.send("sealed", **sealed)
        while (message := orders_in.receive()).kind != "end":
            try:
                channel.send("done", **(doing[message.kind](message) or {}))
            except Ended:
                raise
            except BaseException as error:  # a method may raise anything, SystemExit too
                channel.send("failed", **failures.told(error))
    except Ended:
        pass
    os._exit(0)  # threads that the method left behind are not waited for


class _Worker:
    def __init__(self, channel: Channel, orders: Mapping[str, Any]) -> None:
        entry = orders["entry"]
        file = entry.pop("file")
        self._entry = registry.Entry(**entry, file=Path(file) if file else None, sketch=Sketch())
        self._beside: dict[str, str] = orders["beside"]
        self._channel = channel
        self._loaded: registry.Loaded | None = None
        self._method: Method
        self._contest: ShownContest
        self._run: RunContext

    @property
    def _class(self) -> type[Method]:
        if self._loaded is None:
            beside = Modules(self._beside)
            beside.install()
            try:
                self._loaded = registry.load_entry(self._entry)
            finally:
                beside.remove()
        return self._loaded.method

    def describe(self, message: Message) -> dict[str, Any]:
        """All that is known of the method before its parameters are."""
        method = self._class
        file = self._entry.file
        fields = {
            name: None if f.is_required() else str(f.get_default(call_default_factory=True, validated_data={}))
            for name, f in method.Params.model_fields.items()
        }
        return {
            "name": method.name,
            "version": str(method.version),
            "summary": (method.__doc__ or "").strip(),
            "citation": str(method.citation),
            "reconstruction": method.reconstruction,
            "presets": {name: dict(values) for name, values in method.presets.items()},
            "fields": fields,
            "beside": [] if file is None or self._entry.module else [p.name for p in registry.beside(file)],
        }

    def parameters(self, message: Message) -> dict[str, Any]:
        """Whether the method takes these parameters, and what it needs and builds upon under them."""
        try:
            params = self._class.Params(**message.mapping("values"))
        except ValidationError as error:
            return {"faults": [{"loc": [str(p) for p in e["loc"]], "msg": e["msg"]} for e in error.errors()]}
        made: dict[str, Any] = {"values": params.model_dump(mode="json")}
        method: list[Method] = []

        def construct() -> None:
            method.append(self._class(params))

        made["constructor"] = _outcome(construct)
        made["keyed"] = _outcome(params.keyed)
        if method:
            made["needs"] = _outcome(lambda: _needs(method[0].requires()))
            made["parts"] = _outcome(
                lambda: {
                    str(name): {"method": p.method, "parameters": dict(p.parameters), "split": p.split}
                    for name, p in method[0].parts().items()
                }
            )
        return made

    def begin(self, message: Message) -> None:
        """Make the method, and the contest and run that it is given."""
        about = message.header
        ask = asking(self._channel)
        self._method = self._class(self._class.Params(**about["values"]))
        prior = np.array(message.array()) if message.arrays else None
        self._contest = ShownContest(ask, about["contest"], prior)
        self._run = RunContext(
            seed=about["seed"],
            device=about["device"],
            workers=about["workers"],
            scratch=Path(about["scratch"]),
            artifacts=Path(about["artifacts"]),
            reporter=_Reports(self._channel),
            parts={name: ShownMaps(ask, name, **part) for name, part in about["parts"].items()},
        )

    def fit(self, message: Message) -> None:
        self._method.fit(self._contest, self._run)

    def save(self, message: Message) -> None:
        self._method.save(Path(message.text("folder")))

    def load(self, message: Message) -> None:
        self._method.load(Path(message.text("folder")))

    def predict(self, message: Message) -> None:
        patches = self._contest.to_predict().select(message.header["ids"])
        name = self._method.name
        for prediction in predicted(self._method.predict(patches, self._run), name):
            if not isinstance(prediction.patch_id, str):
                raise ContractError(f"{name}.predict yielded {prediction.patch_id!r} though no patch has that id.")
            given = Prediction(prediction.patch_id, prediction.values)
            self._channel.send("prediction", sendable(given), id=given.patch_id)


class _Reports:
    """Progress and metrics go to the harness."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def advance(self, label: str, done: int, total: int | None) -> None:
        self._channel.send("advance", label=str(label), done=int(done), total=None if total is None else int(total))

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        named = {str(name): float(value) for name, value in values.items()}
        self._channel.send("metrics", values=named, step=None if step is None else int(step))


class _Log(logging.Handler):
    """Log lines go to the harness's log."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._channel.send("log", level=record.levelno, text=self.format(record))
        except Exception:
            self.handleError(record)


def _needs(needs: Any) -> dict[str, Any]:
    if not isinstance(needs, Needs):
        return {"odd": repr(needs)[:200]}
    return {**vars(needs), "inputs": sorted(needs.inputs)}


def _outcome(question: Callable[[], Any]) -> dict[str, Any]:
    """The answer, or what was raised instead."""
    try:
        return {"answer": question()}
    except (Exception, DfcbenchError) as error:
        return {"raised": failures.told(error)}
