"""A method's process, seen from the harness: started sealed, commanded, and ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from dfcbench.errors import DfcbenchError, PluginError
from dfcbench.registry import Entry
from dfcbench.sealing import failures
from dfcbench.sealing.levels import KERNEL
from dfcbench.sealing.places import Places, environment
from dfcbench.sealing.wire import Channel, Ended, Message

log = logging.getLogger("dfcbench")

_DOOR = Path(__file__).with_name("door.py")
_PATIENCE_SECONDS = 5.0
"""Between asking a process to end and killing it."""
_MOST_LINE = 2000
"""Characters of a printed line that are kept."""
_TAIL = 20
"""Printed lines that an error tells when the process did not even start."""


class Process:
    """A sealed process with one method in it. Use as a context; it is killed, with its children, at the latest there.

    ``home`` is a folder for its temporary files, ``most_bytes`` the largest map that it may send. Raises PluginError if
    it cannot be started or does not seal itself as ``level`` demands.
    """

    def __init__(self, entry: Entry, level: str, places: Places, home: Path, most_bytes: int) -> None:
        self.name = entry.name
        ours, theirs = socket.socketpair()
        answers, service = socket.socketpair()
        orders = {
            "parent": os.getpid(),
            "kernel": level == KERNEL,
            "rules": places.rules,
            "path": places.path,
            "modules": places.modules,
            "beside": places.beside,
            "entry": {
                "name": entry.name,
                "origin": entry.origin,
                "module": entry.module,
                "file": None if entry.file is None else str(entry.file),
                "class_name": entry.class_name,
            },
        }
        with theirs, service:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-u", str(_DOOR), str(theirs.fileno()), str(service.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), service.fileno()),
                cwd=home,
                env=environment(home),
                start_new_session=True,
            )
        self._end_of_channel = answers
        self._orders, self.channel = Channel(ours), Channel(answers, most_bytes)
        self._printed = _Printed(entry.name, self._process.stdout)
        try:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
                pipe.write(json.dumps(orders).encode())
            self._await_seal(level)
        except BaseException:
            self.end()
            raise

    def command(self, kind: str, *arrays: NDArray[Any], **entries: Any) -> None:
        """Tell the process what to do next."""
        with contextlib.suppress(Ended):  # what became of it is told by the channel that answers
            self._orders.send(kind, *arrays, **entries)

    def status(self) -> int | None:
        """Exit status of a process whose channel has ended, as ``subprocess`` gives it; None if it lives on."""
        try:
            return self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def end(self, *, kindly: bool = False) -> None:
        """End the process and all that it started; ``kindly`` lets it end by itself first."""
        if kindly:
            self.command("end")
            self._end_of_channel.settimeout(_PATIENCE_SECONDS)
            until = time.monotonic() + _PATIENCE_SECONDS
            with contextlib.suppress(Ended, DfcbenchError):
                while time.monotonic() < until:
                    self.channel.receive()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._orders.close()
        self.channel.close()
        self._printed.close()

    def _await_seal(self, level: str) -> None:
        try:
            sealed = self.channel.receive()
        except Ended:
            status = self.status()
            self._printed.close()
            told = "\n".join(self._printed.last) or f"it ended with status {status}"
            raise PluginError(f"{self.name}: its sealed process did not start:\n{told}") from None
        if sealed.kind != "sealed" or (
            level == KERNEL and not (sealed.header.get("landlock") and sealed.header["filter"])
        ):
            raise PluginError(f"{self.name}: its process did not seal itself; it was ended.")


class Conversation:
    """One command and what comes of it: the process's questions are answered until it is done or has failed."""

    def __init__(self, process: Process, answer: Callable[[Message], None], call: str) -> None:
        self._process = process
        self._answer = answer
        self._call = call

    def next(self) -> Message:
        """The next message that is no question: ``prediction`` or ``done``.

        Raises what the method raised, MethodCrash if its process is no more, ContractError for what is no message.
        """
        while True:
            try:
                message = self._process.channel.receive()
                if message.kind not in ("prediction", "done", "failed"):
                    self._answer(message)
                    continue
            except Ended:
                raise failures.ended(self._process.name, self._call, self._process.status()) from None
            if message.kind == "failed":
                raise failures.rebuilt(message.text("error"), message.text("message"), message.text("traceback"))
            return message


class _Printed:
    """What the process prints goes to the log, line by line."""

    def __init__(self, name: str, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self.last: list[str] = []
        self._name = name
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last line; not for what holds the pipe open for ever."""
        self._thread.join(_PATIENCE_SECONDS)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._pipe as pipe:
            while line := pipe.readline(_MOST_LINE):
                text = failures.printable(line.decode(errors="replace")).rstrip()
                if text:
                    log.info("%s printed: %s", self._name, text)
                    self.last = [*self.last[1 - _TAIL :], text]
