"""Checks of what a method declares: nothing is fitted, and no patch is read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dfcbench.errors import DfcbenchError
from dfcbench.method import Needs, Part
from dfcbench.plan import summary
from dfcbench.testing.check import Fault, Skip
from dfcbench.testing.subject import Subject

_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
_UNHEARD_OF = "dfcbench_checks_this_name"
"""A parameter that no method has."""

MOST_SECONDS = 1.0
"""Of processor time for a constructor: storing takes microseconds, so that a second is work, on any machine."""


def identity(subject: Subject) -> None:
    """Name, version, citation and summary are well-formed."""
    kind = subject.kind
    faults = []
    if not _NAME.fullmatch(kind.name):
        faults.append(f"name is {kind.name!r}, not lower case words joined by hyphens")
    if not isinstance(kind.version, str) or not kind.version.strip():
        faults.append(f"version is {kind.version!r}, not text such as '1'")
    if not isinstance(kind.citation, str):
        faults.append(f"citation is {kind.citation!r}, not text")
    if not summary(kind):
        faults.append("the class has no docstring, whose first line is the summary")
    elif kind.reconstruction and len((kind.__doc__ or "").strip().splitlines()) == 1:
        faults.append("a reconstruction's docstring tells below its summary what is known and what was chosen")
    _tell(faults)


def needs(subject: Subject) -> None:
    """requires() and parts() answer under every preset, the same each time, and the method gets to see something."""
    kind, faults = subject.kind, []
    for preset, values in {"the parameters given": None, **kind.presets}.items():
        try:
            params = subject.params if values is None else kind.Params(**{**values, **subject.parameters})
        except (ValidationError, DfcbenchError):
            continue  # another check's matter
        found: list[tuple[Any, Any]] = []
        try:
            for method in (kind(params), kind(params)):
                found.append((method.requires(), dict(method.parts())))
        except Exception as error:
            faults.append(f"with {preset}, requires() or parts() raises {type(error).__name__}: {error}")
            continue
        first, parts = found[0]
        if not isinstance(first, Needs):
            faults.append(f"with {preset}, requires() returns {first!r}, not Needs(...)")
        elif found[0] != found[1]:
            faults.append(f"with {preset}, two instances alike say different needs or parts")
        elif not (first.inputs or first.labels != "none" or parts):
            faults.append(f"with {preset}, the method sees no images, no labels and no parts")
        strange = [name for name, part in parts.items() if not (isinstance(name, str) and isinstance(part, Part))]
        if strange:
            faults.append(f"with {preset}, parts() names {strange[0]!r}, which is no Part")
    _tell(faults)


def parameters(subject: Subject) -> None:
    """Every parameter has a type and says what it means."""
    fields = _fields(subject)
    faults = [f"{name} has no description" for name, field in fields.items() if not (field.description or "").strip()]
    faults += [f"{name} has no type" for name, field in fields.items() if field.annotation in (None, Any, object)]
    _tell(faults)


def defaults(subject: Subject) -> None:
    """Without anything given there are valid parameters."""
    fields = _fields(subject)
    required = [name for name, field in fields.items() if field.is_required()]
    given = {name: value for name, value in subject.parameters.items() if name in required}
    try:
        subject.kind.Params(**given)
    except ValidationError as error:
        _tell(_faults(error))


def unknown(subject: Subject) -> None:
    """A parameter that does not exist is refused."""
    given = {**subject.kind.presets.get("quick", {}), **subject.parameters}
    try:
        subject.kind.Params(**given, **{_UNHEARD_OF: 1})
    except ValidationError as error:
        if any(_UNHEARD_OF in map(str, fault["loc"]) for fault in error.errors()):
            return
        raise Skip("there are no valid parameters to add one to; see defaults") from None
    raise Fault(f"{_UNHEARD_OF}=1 is taken, though there is no such parameter")


def presets(subject: Subject) -> None:
    """Every preset is a set of valid parameters."""
    kind = subject.kind
    if not isinstance(kind.presets, Mapping):
        raise Fault(f"presets is {kind.presets!r}, not a mapping of presets by name")
    faults = []
    required = {name for name, field in _fields(subject).items() if field.is_required()}
    given = {name: value for name, value in subject.parameters.items() if name in required}
    for name, values in kind.presets.items():
        try:
            kind.Params(**{**given, **values})
        except (ValidationError, TypeError) as error:
            found = _faults(error) if isinstance(error, ValidationError) else [str(error)]
            own = [fault for fault in found if any(key in fault for key in values)]
            faults += [f"preset {name}: {fault}" for fault in own]
    _tell(faults)


def round_trip(subject: Subject) -> None:
    """Parameters survive JSON: what submission.json keeps makes the same run again."""
    _fields(subject)
    params = subject.params
    try:
        text = json.dumps(params.model_dump(mode="json"), allow_nan=False)
        again = type(params)(**json.loads(text))
        keys = [json.dumps(each.keyed(), sort_keys=True, allow_nan=False) for each in (params, again)]
    except (ValueError, TypeError) as error:
        raise Fault(f"they cannot be written as JSON and read again: {' '.join(str(error).split())}") from error
    if again != params:
        changed = [name for name in type(params).model_fields if getattr(again, name) != getattr(params, name)]
        raise Fault(f"{', '.join(changed)} are others after a way through JSON")
    if keys[0] != keys[1]:
        raise Fault("keyed() says something else after a way through JSON")


def immutable(subject: Subject) -> None:
    """Nobody changes parameters once they are made."""
    fields, params = _fields(subject), subject.params
    for name in fields:
        try:
            setattr(params, name, getattr(params, name))
        except (ValidationError, AttributeError, TypeError):
            continue
        raise Fault(f"{name} can be assigned to")


def constructor(subject: Subject) -> None:
    """The constructor keeps its parameters, and does nothing else."""
    report = _probed(subject)
    faults = [f"it {did}" for did in report["did"]]
    if report["modules"]:
        faults.append(f"it imports {', '.join(report['modules'])}")
    if report["threads"]:
        faults.append(f"it starts {report['threads']} thread(s)")
    if report["seconds"] > MOST_SECONDS:
        faults.append(f"it takes {report['seconds']:.1f} s of processor time")
    if report["attributes"]:
        faults.append(f"it sets {', '.join(report['attributes'])} beside params")
    if not report["keeps_params"]:
        faults.append("self.params is not what it was given")
    _tell(faults)


def light_import(subject: Subject) -> None:
    """Importing the method's module imports no heavy package."""
    report = _probed(subject)
    if not report["imported"]:
        return
    told = f"importing the module imports {', '.join(report['imported'])}"
    entry = [e for e in subject.registry.entries if e.name == subject.reference]
    if entry and entry[0].module is not None:
        raise Fault(told)
    raise Skip(f"{told}; it is a file of yours, so that this costs nobody else")


def _probed(subject: Subject) -> dict[str, Any]:
    """What a fresh process tells of importing and constructing the method; asked once."""
    return subject.once("probe", lambda: _probe(subject))


def _probe(subject: Subject) -> dict[str, Any]:
    order = {
        "reference": subject.reference,
        "folders": list(map(str, subject.folders)),
        "parameters": subject.parameters,
        "preset": subject.asked_preset,
    }
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dfcbench.testing.probe"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise Fault(f"a new process cannot make the method: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def _fields(subject: Subject) -> dict[str, FieldInfo]:
    """The parameters' fields. Raises Skip if there are none."""
    fields = dict(subject.kind.Params.model_fields)
    if not fields:
        raise Skip("it has no parameters")
    return fields


def _faults(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, fault['loc'])) or 'parameters'}: {fault['msg']}" for fault in error.errors()]


def _tell(faults: list[str]) -> None:
    if faults:
        raise Fault("; ".join(faults))
