"""Methods that the harness knows by hearsay: a sealed process imports and describes them, and a stand-in takes their place.

A plug-in's file can do anything while it is imported. In a sealed run the harness therefore imports none: the stand-in has
the method's name, version, presets and texts, and asks the process about parameters, needs and parts.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from dfcbench.errors import ContractError, PluginError
from dfcbench.method import Contest, Method, Needs, Params, Part, PatchSet, Prediction, RunContext
from dfcbench.registry import Entry, Loaded, Registry, source_digest
from dfcbench.sealing import failures
from dfcbench.sealing.places import link_files, named_files, places
from dfcbench.sealing.process import Conversation, Process
from dfcbench.sealing.wire import Message


class SealedRegistry(Registry):
    """A registry that imports no method. ``given`` are the parameters that a person gave: files that they name are shown.

    ``hidden`` are folders that no method's process may read. Call ``rest`` when planning is over.
    """

    def __init__(self, folders: tuple[Path, ...], level: str, hidden: Sequence[Path], given: Mapping[str, Any]) -> None:
        super().__init__(folders)
        self._level = level
        self._hidden = tuple(hidden)
        self._given = given
        self._known: dict[Entry, Loaded] = {}
        self._describers: list[Describer] = []

    def load(self, reference: str) -> Loaded:
        """A stand-in for the method. Raises PluginError with the reason if it cannot be found, imported, or is none."""
        entry = self.find(reference)
        if entry not in self._known:
            describer = Describer(entry, self._level, self._hidden, named_files(self._given))
            self._describers.append(describer)
            about = describer.ask("describe")
            digest = None
            if entry.module is None:
                assert entry.file is not None
                digest = source_digest(entry.file, _beside(entry.file, about.header.get("beside")))
            self._known[entry] = Loaded(_standin(describer, about), entry.origin, digest)
        return self._known[entry]

    def rest(self) -> None:
        """End the processes that described methods; they start again if something else is asked."""
        for describer in self._describers:
            describer.rest()


class Describer:
    """A sealed process that describes one method, without any data. It is started when first asked."""

    def __init__(self, entry: Entry, level: str, hidden: Sequence[Path], files: Mapping[str, Path]) -> None:
        self.entry = entry
        self.level = level
        self.files = files
        self._hidden = hidden
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._process: Process | None = None
        self._answers: dict[str, Message] = {}
        self._rested = False

    def ask(self, command: str, **entries: Any) -> Message:
        """The answer to a command; the same one again for the same question."""
        question = json.dumps([command, entries], sort_keys=True)
        if question not in self._answers:
            if self._process is None:
                self._start()
            assert self._process is not None
            try:
                self._process.command(command, **entries)
                self._answers[question] = Conversation(self._process, _refuse, "import").next()
            except BaseException:
                self.rest()
                raise
            if self._rested:
                self.rest()
        return self._answers[question]

    def rest(self) -> None:
        """End the process; what is asked later is asked of a process for that one question."""
        self._rested = True
        process, self._process = self._process, None
        if process is not None:
            process.end()
        if self._home is not None:
            self._home.cleanup()

    def _start(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="dfcbench-sealed-", ignore_cleanup_errors=True)
        home = Path(self._home.name).resolve()
        try:
            link_files(self.files, home)
            allowed = places(self.entry, self._hidden, self.files.values(), [home])
            self._process = Process(self.entry, self.level, allowed, home, most_bytes=0)
        except BaseException:
            self.rest()
            raise


class Standin(Method):
    """Stands for a method that only its own process imports; ``serving`` lets that one fit and predict."""

    describer: ClassVar[Describer]
    needs: ClassVar[Needs] = Needs()
    params: Any

    def requires(self) -> Needs:
        """What the method needs under these parameters."""
        self._answer("constructor")
        given = self._answer("needs")
        if "odd" in given:
            raise ContractError(f"{self.name}: requires() returned {given['odd']}, not Needs(...).")
        try:
            return Needs(**{**given, "inputs": frozenset(given["inputs"])})
        except (TypeError, KeyError) as error:
            raise ContractError(f"{self.name}: its process described its needs as {given!r:.200}.") from error

    def parts(self) -> Mapping[str, Part]:
        """Other methods' runs that it builds upon."""
        self._answer("constructor")
        try:
            found = {}
            for name, part in self._answer("parts").items():
                split = part["split"]
                found[str(name)] = Part(
                    str(part["method"]), dict(part["parameters"]), None if split is None else str(split)
                )
            return found
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ContractError(f"{self.name}: its process described its parts in words that mean none.") from error

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Never done here."""
        raise ContractError(f"{self.name}: is sealed, and was asked to work outside of its process.")

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Never done here."""
        raise ContractError(f"{self.name}: is sealed, and was asked to work outside of its process.")

    def _answer(self, question: str) -> Any:
        return self.params.answer(question)


class ToldParams:
    """Parameters of a method as its process tells them; takes the place of the method's own ``Params``."""

    describer: ClassVar[Describer]
    model_fields: ClassVar[Mapping[str, FieldInfo]]

    def __init__(self, **given: Any) -> None:
        self.given = given
        self._told = self.describer.ask("parameters", values=given).header
        if "faults" in self._told:
            raise _validation_error(self.describer.entry.name, given, self._told["faults"])

    def model_dump(self, mode: str = "json") -> dict[str, Any]:
        """All parameters, defaults included, as JSON values."""
        values = self._told.get("values")
        if not isinstance(values, dict):
            raise ContractError(f"{self.describer.entry.name}: its process told no parameters.")
        return copy.deepcopy(values)

    def keyed(self) -> dict[str, Any]:
        """Parameters as they enter a run's key."""
        return copy.deepcopy(dict(self.answer("keyed")))

    def answer(self, question: str) -> Any:
        """What the method answered; what it raised instead is raised here."""
        outcome = self._told.get(question, {})
        if isinstance(outcome, dict) and isinstance(raised := outcome.get("raised"), dict):
            raise failures.rebuilt(str(raised.get("error")), str(raised.get("message")), str(raised.get("traceback")))
        if not isinstance(outcome, dict) or "answer" not in outcome:
            raise ContractError(f"{self.describer.entry.name}: its process does not tell its {question}.")
        return outcome["answer"]


def _standin(describer: Describer, about: Message) -> type[Method]:
    """A class with what the process told; its name goes into paths, and must be the one that was looked for."""
    entry = describer.entry
    if about.text("name") != entry.name or not entry.name.replace("-", "").replace("_", "").isalnum():
        raise PluginError(f"{entry.name} ({entry.origin}): its process calls it {about.text('name')!r:.60}.")
    presets, fields = about.mapping("presets"), about.mapping("fields")
    if not all(isinstance(values, dict) for values in presets.values()):
        raise PluginError(f"{entry.name} ({entry.origin}): its presets are no mappings.")
    infos = {name: FieldInfo() if default is None else FieldInfo(default=default) for name, default in fields.items()}
    params = type("Params", (ToldParams,), {"describer": describer, "model_fields": infos})
    content = {
        "describer": describer,
        "name": entry.name,
        "version": about.text("version"),
        "citation": about.text("citation"),
        "reconstruction": about.header.get("reconstruction") is True,
        "presets": presets,
        "Params": cast(type[Params], params),
        "__doc__": about.text("summary"),
    }
    return type(entry.class_name or "Method", (Standin,), content)


def _validation_error(name: str, given: Mapping[str, Any], faults: Any) -> ValidationError:
    try:
        lines = [
            InitErrorDetails(
                type=PydanticCustomError("told", "{text}", {"text": str(fault["msg"])}),
                loc=tuple(map(str, fault["loc"])),
                input=None,
            )
            for fault in faults
        ]
    except (TypeError, KeyError) as error:
        raise ContractError(f"{name}: its process refuses its parameters and does not tell why.") from error
    return ValidationError.from_exception_data(name, lines)


def _beside(file: Path, names: Any) -> list[Path]:
    """Modules beside a plug-in that its process says it imported."""
    if not isinstance(names, list):
        return []
    plain = sorted({name for name in names if isinstance(name, str) and name.endswith(".py") and "/" not in name})
    return [path for name in plain if (path := file.parent / name).is_file() and path != file]


def _refuse(message: Message) -> None:
    if message.kind != "log":
        raise PluginError(
            f"a method asked for {message.kind!r:.30} while it was imported; there is nothing to be had yet."
        )
