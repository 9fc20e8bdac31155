"""What the harness answers a sealed method: patches, labels that the track shows, maps of parts, the server's scores.

Questions name a set, a row and a modality, never a path; only what the contest's view holds is answered.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.contest import ContestView
from dfcbench.errors import ContractError, DataError, DfcbenchError, HiddenError
from dfcbench.method import PartMaps, Prediction, Reporter
from dfcbench.patches import LabelledPatchSet, PatchSet
from dfcbench.records import MODALITIES
from dfcbench.sealing import failures
from dfcbench.sealing.process import Process
from dfcbench.sealing.wire import Message

log = logging.getLogger("dfcbench")

_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR)


class _Aborted(Exception):
    """The method gave up while it sent maps to the contest's server."""


class Server:
    """Answers one process, for one view of the contest."""

    def __init__(
        self, process: Process, view: ContestView, parts: Mapping[str, PartMaps], reporter: Reporter, name: str
    ) -> None:
        self._process = process
        self._view = view
        self._parts = parts
        self._mapped = {name: frozenset(part.ids) for name, part in parts.items()}
        self._reporter = reporter
        self._name = name
        self._opened: dict[str, PatchSet] = {}
        self.predicting = False
        """Whether ``predict`` was called: before that, the scored images are for transductive methods."""
        self._questions: dict[str, Callable[[Message], None]] = {
            "advance": self._advance,
            "metrics": self._metrics,
            "log": self._log,
            "open": self._open,
            "header": self._header,
            "read": self._read,
            "part": self._part,
            "feedback remaining": self._remaining,
            "feedback begin": self._feedback,
            "feedback abort": lambda message: self._reply(),
        }

    def answer(self, message: Message) -> None:
        """Answer a question, or pass a report on. Raises ContractError for any other message."""
        known = self._questions.get(message.kind)
        if known is None:
            raise ContractError(f"{self._name}: its process sent {message.kind!r:.40}, which means nothing here.")
        try:
            known(message)
        except ContractError:
            raise
        except DfcbenchError as error:
            self._refuse(error)
        except OSError as error:
            self._refuse(
                DataError(f"{error.filename}: cannot be read ({error.strerror}). Give the same command again.")
            )

    def _reply(self, *arrays: NDArray[Any], files: tuple[int, ...] = (), **entries: Any) -> None:
        self._process.channel.send("answer", *arrays, files=files, **entries)

    def _refuse(self, error: DfcbenchError) -> None:
        self._process.channel.send("refused", error=type(error).__name__, message=str(error))

    def _advance(self, message: Message) -> None:
        label = failures.printable(message.text("label"))
        self._reporter.advance(label, message.whole("done"), message.number_or_none("total"))

    def _metrics(self, message: Message) -> None:
        values = message.mapping("values")
        if not all(isinstance(value, int | float) for value in values.values()):
            raise ContractError(f"{self._name}: its process sent metrics that are no numbers.")
        self._reporter.metrics({name: float(v) for name, v in values.items()}, message.number_or_none("step"))

    def _log(self, message: Message) -> None:
        level = message.whole("level")
        log.log(level if level in _LEVELS else logging.INFO, "%s", failures.printable(message.text("text")))

    def _set(self, message: Message) -> tuple[PatchSet, int]:
        """The set that a question is about, and a row of it."""
        patches, row = self._opened.get(message.text("set")), message.whole("row")
        if patches is None or not 0 <= row < len(patches):
            raise ContractError(f"{self._name}: its process asked for a patch that it was not shown.")
        return patches, row

    def _open(self, message: Message) -> None:
        name = message.text("set")
        if name == "scored" and not (self.predicting or self._view.needs.transductive):
            raise HiddenError(
                "contest.target: the scored images are shown to fit only if Needs(transductive=True) says so."
            )
        patches = self._opened[name] = self._view.named(name)
        packs = patches.packs
        asked = [modality for modality in _shown(patches) if modality not in packs]
        kinds = sorted(set(patches.tokens))
        which = np.array([kinds.index(tokens) for tokens in patches.tokens], np.int32)
        arrays = [values for pack in packs.values() for values in (pack.offsets, pack.shapes)]
        with ExitStack() as stack:
            files = []
            for pack in packs.values():
                files.append(os.open(pack.file.path, os.O_RDONLY | os.O_CLOEXEC))
                stack.callback(os.close, files[-1])
            self._reply(
                which,
                *arrays,
                patches.shapes,
                files=tuple(files),
                ids=patches.ids,
                scenes=patches.scenes,
                regions=patches.regions,
                kinds=kinds,
                labelled=isinstance(patches, LabelledPatchSet),
                packed=list(packs),
                sizes={modality: pack.file.size for modality, pack in packs.items()},
                asked=asked,
                withheld=sorted(patches.withheld),
            )

    def _header(self, message: Message) -> None:
        patches, row = self._set(message)
        found = patches.header(row)
        self._reply(
            bands=found.bands,
            height=found.height,
            width=found.width,
            dtype=found.dtype,
            nodata=found.nodata,
            crs=found.georeference.crs,
            transform=found.georeference.transform,
            descriptions=found.descriptions,
        )

    def _read(self, message: Message) -> None:
        patches, row = self._set(message)
        modality = message.text("modality")
        if modality not in _shown(patches):
            raise HiddenError(f"{self._name}: its process asked for {modality!r:.30}, which these patches do not show.")
        self._reply(getattr(patches[row], modality))

    def _part(self, message: Message) -> None:
        part, patch_id = self._parts.get(message.text("part")), message.text("id")
        if part is None or patch_id not in self._mapped[message.text("part")]:
            raise HiddenError(f"{self._name}: its process asked for a map that no part of it has.")
        wanted = part.probabilities if message.text("what") == "probabilities" else part.labels
        self._reply(wanted(patch_id))

    def _remaining(self, message: Message) -> None:
        self._reply(remaining=self._view.feedback.remaining)

    def _feedback(self, message: Message) -> None:
        try:
            answer = self._view.feedback(self._maps())
        except _Aborted:
            self._reply()
        except ContractError as error:
            self._refuse(error)
        else:
            self._reply(average_accuracy=answer.average_accuracy, producers_accuracy=answer.producers_accuracy)

    def _maps(self) -> Iterator[Prediction]:
        """The maps that are sent to the contest's server, while other questions are answered as well.

        Each message is answered when the next one is wanted, so that a refusal answers the one that brought it about.
        """
        while True:
            self._reply()
            while (message := self._process.channel.receive()).kind not in ("feedback map", "feedback end"):
                if message.kind == "feedback abort":
                    raise _Aborted
                self.answer(message)
            if message.kind == "feedback end":
                return
            yield Prediction(message.text("id"), message.array())


def _shown(patches: PatchSet) -> list[str]:
    """Modalities of a set that may be read."""
    return [modality for modality in MODALITIES if modality in patches.modalities - patches.withheld]
