"""How a sealed method's process and the harness talk: messages of JSON, arrays as raw bytes, open files; never pickles.

A message is its header's length (4 bytes, big-endian), the header (JSON, with the sizes of what follows), the arrays'
bytes, and, if the header says so, one byte that carries open files. The harness trusts nothing that it receives: sizes
are bounded before memory is taken, and what is no message raises ContractError.
"""

from __future__ import annotations

import array
import json
import math
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import ContractError

MOST_HEADER = 1 << 24
"""Bytes of a header: text, numbers and names; sixteen million are far more than any run says at once."""
MOST_DIMENSIONS = 8
_MOST_SIDE = 1 << 40

_DTYPE = re.compile(r"[<>|=][biufc]\d{1,2}")
_LENGTH = 4


class Ended(Exception):
    """The other side has closed the channel, or was ended."""


class Message:
    """A header and its arrays. What the header lacks or has of another type raises ContractError."""

    def __init__(
        self, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = (), files: Sequence[int] = ()
    ) -> None:
        self.header = header
        self.arrays = tuple(arrays)
        self.files = tuple(files)

    @property
    def kind(self) -> str:
        """What the message is."""
        return self.text("kind")

    def text(self, name: str) -> str:
        """An entry that is text."""
        value: str = self._typed(name, str)
        return value

    def whole(self, name: str) -> int:
        """An entry that is a whole number."""
        value: int = self._typed(name, int)
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """An entry that is a mapping."""
        value: dict[str, Any] = self._typed(name, dict)
        return value

    def number_or_none(self, name: str) -> int | None:
        """An entry that is a whole number, or None."""
        return None if self.header.get(name) is None else self.whole(name)

    def array(self) -> NDArray[Any]:
        """The one array of the message."""
        if len(self.arrays) != 1:
            raise ContractError(f"the method's process sent {len(self.arrays)} arrays where one belongs.")
        return self.arrays[0]

    def _typed(self, name: str, kind: type) -> Any:
        value = self.header.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ContractError(f"the method's process sent a message whose {name!r} is {value!r:.60}.")
        return value


class Channel:
    """One end of a connection. Sending is safe from several threads; ``ask`` sends and waits for the answer."""

    def __init__(self, end: socket.socket, most_bytes: int | None = None) -> None:
        self._socket = end
        self._most = most_bytes
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, kind: str, *arrays: NDArray[Any], files: Sequence[int] = (), **entries: Any) -> None:
        """Send one message. Raises Ended if nobody is there to receive it."""
        with self._lock:
            self._send(kind, arrays, files, entries)

    def ask(self, kind: str, *arrays: NDArray[Any], **entries: Any) -> Message:
        """Send one message and wait for the answer to it."""
        with self._lock:
            self._send(kind, arrays, (), entries)
            return self.receive()

    def receive(self) -> Message:
        """The next message. Raises Ended if there is none to come, ContractError for what is no message."""
        length = int.from_bytes(self._exactly(_LENGTH), "big")
        if not 2 <= length <= MOST_HEADER and self._most is not None:
            raise ContractError(f"the method's process sent what is no message ({length} bytes of header).")
        try:
            header = json.loads(bytes(self._exactly(length)))
            if not isinstance(header, dict):
                raise ValueError("not a mapping")
            described = [(str(d), tuple(map(int, shape))) for d, shape in header.pop("arrays")]
            count = int(header.pop("files"))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ContractError(f"the method's process sent what is no message ({error!s:.80}).") from error
        arrays = self._arrays(described)
        return Message(header, arrays, self._files(count) if count and self._most is None else ())

    def _send(self, kind: str, arrays: Sequence[NDArray[Any]], files: Sequence[int], entries: dict[str, Any]) -> None:
        flat = [np.ascontiguousarray(values) for values in arrays]
        shapes = [np.shape(values) for values in arrays]  # ascontiguousarray makes a number one-dimensional
        described = [(values.dtype.str, shape) for values, shape in zip(flat, shapes, strict=True)]
        header = json.dumps({**entries, "kind": kind, "arrays": described, "files": len(files)}).encode()
        try:
            self._socket.sendall(len(header).to_bytes(_LENGTH, "big") + header)
            for values in flat:
                if values.size:
                    self._socket.sendall(values.reshape(-1).view(np.uint8).data)
            if files:
                rights = array.array("i", files)
                self._socket.sendmsg([b"F"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as error:
            raise Ended(str(error)) from error

    def _arrays(self, described: Sequence[tuple[str, tuple[int, ...]]]) -> list[NDArray[Any]]:
        total = 0
        for dtype, shape in described:
            odd = len(shape) > MOST_DIMENSIONS or not all(0 <= side < _MOST_SIDE for side in shape)
            if odd or not _DTYPE.fullmatch(dtype):
                raise ContractError(
                    f"the method's process sent an array of type {dtype!r:.30} and shape {shape!r:.60}."
                )
            try:
                total += math.prod(shape) * np.dtype(dtype).itemsize
            except TypeError as error:
                raise ContractError(f"the method's process sent an array of type {dtype!r:.30}.") from error
        if self._most is not None and total > self._most:
            raise ContractError(
                f"the method's process sent arrays of {total:,} bytes; no map of a patch has more than {self._most:,}."
            )
        arrays = []
        for dtype, shape in described:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            arrays.append(np.frombuffer(self._exactly(size), np.dtype(dtype)).reshape(shape))
        return arrays

    def _files(self, count: int) -> list[int]:
        content, files, _, _ = socket.recv_fds(self._socket, 1, count)
        if content != b"F" or len(files) != count:
            raise Ended("open files did not come through")
        return files

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                count = self._socket.recv_into(view[got:])
            except OSError as error:
                raise Ended(str(error)) from error
            if not count:
                raise Ended("the channel was closed")
            got += count
        return data
