"""A run before it starts: everything resolved, checked and named, so that it can be shown, hashed and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dfcbench.contest import FusionContest
from dfcbench.errors import ContractError, DfcbenchError, MethodCrash, PluginError, SubmissionError, UsageError
from dfcbench.machine import commit, software
from dfcbench.maps import has_maps, probabilities_path
from dfcbench.method import Method, Needs, Params, Part
from dfcbench.registry import Loaded, Registry
from dfcbench.sealing import levels
from dfcbench.submission import META, RECONSTRUCTION_BADGE, TUNED_BADGE, Submission
from dfcbench.threads import Door

Answered = TypeVar("Answered")

MOST_NESTED = 8
"""Parts of parts of parts: deeper than this, a method is taken to be made of itself."""


@dataclass(frozen=True)
class Ready:
    """A part that is finished: the submission that was named."""

    submission: Submission
    soft: bool
    """Whether its probabilities were kept; of labels alone something else is made."""

    @property
    def key(self) -> str:
        """The run's key, with a mark if only its labels are there."""
        return self.submission.key + ("" if self.soft else "-labels")

    @property
    def folder(self) -> Path:
        """The submission's folder."""
        return self.submission.folder

    @property
    def badges(self) -> list[str]:
        """The submission's badges."""
        return list(self.submission.meta["badges"])


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
    registry: Registry | None = None
    """Where the methods of parts are looked up."""
    depth: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that were given, beside preset and defaults."""
    seal: str | None = None
    """How the method is sealed, ``kernel`` or ``process``; None if it runs in the harness's own process."""
    door: Door | None = field(default=None, compare=False, repr=False)
    """Where per-patch work is done, if not by this machine's threads. It has no say in what results."""

    @cached_property
    def method(self) -> Method:
        """The method, constructed and not fitted."""
        return self._asked("its constructor", lambda: self.loaded.method(self.params))

    @cached_property
    def needs(self) -> Needs:
        """What the method needs under these parameters."""
        needs = self._asked("requires()", lambda: self.method.requires())
        if not isinstance(needs, Needs):
            raise ContractError(f"{self.loaded.method.name}: requires() returned {needs!r}, not Needs(...).")
        return needs

    def _asked(self, call: str, question: Callable[[], Answered]) -> Answered:
        try:
            return question()
        except (DfcbenchError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise MethodCrash(f"{self.loaded.method.name}: {call} raised {type(error).__name__}: {error}.") from error

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All parameters, defaults included, as JSON values."""
        values: dict[str, Any] = self.params.model_dump(mode="json")
        return values

    @cached_property
    def parts(self) -> dict[str, Plan | Ready]:
        """The runs that this one builds upon, by the method's names for them."""
        return {name: self._part(part) for name, part in self._declared.items()}

    @cached_property
    def _declared(self) -> dict[str, Part]:
        return dict(self._asked("parts()", lambda: self.method.parts()))

    def _part(self, part: Part) -> Plan | Ready:
        if self.registry is None or self.depth >= MOST_NESTED:
            raise PluginError(
                f"{self.loaded.method.name}: its part {part.method!r} is made of itself, or cannot be found."
            )
        contest = self.contest
        if part.split and part.split != contest.split:
            try:
                contest = FusionContest(contest.archive, contest.track, part.split)
            except UsageError as error:
                raise UsageError(
                    f"{self.loaded.method.name} builds upon {part.method} on the {part.split} split: {error}"
                ) from error
        folder = Path(part.method).expanduser()
        if (folder / META).exists():
            ready = _ready(folder, contest)
            if self.seal is not None and ready.submission.sealed is None:
                raise UsageError(
                    f"--sealed: {folder} is not sealed, so nothing sealed can be built upon it. Run it with --sealed first."
                )
            return ready
        if len(folder.parts) > 1 and ".py" not in part.method:
            raise SubmissionError(f"{folder}: no {META} there. Name the folder of a finished run, or a method.")
        loaded = self.registry.load(part.method)
        preset = self.preset if self.preset in loaded.method.presets else None
        params, preset = resolve_parameters(loaded.method, part.parameters, preset, demo=contest.archive.identity.demo)
        return replace(
            self,
            contest=contest,
            loaded=loaded,
            params=params,
            preset=preset,
            depth=self.depth + 1,
            overrides=part.parameters,
        )

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
            "parameters": self._placeless(self._asked("Params.keyed()", self.params.keyed)),
            "seed": self.seed,
            "parts": {name: part.key for name, part in self.parts.items()},
        }
        if not parts["parts"]:
            del parts["parts"]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _changed(self) -> dict[str, Any]:
        """Parameters given that differ from what preset and defaults say anyway."""
        method = self.loaded.method
        try:
            usual = method.Params(**method.presets.get(self.preset, {})).model_dump(mode="json")
        except ValidationError:  # some have no default
            usual = {}
        given = {key: self.parameters[key] for key in sorted(self.overrides)}
        return {key: value for key, value in given.items() if key not in usual or usual[key] != value}

    def _placeless(self, value: Any) -> Any:
        """Parameters with the folders of finished parts replaced by their keys: where they lie is no matter."""
        ready = {part.method: self.parts[name].key for name, part in self._declared.items()}
        ready = {path: key for path, key in ready.items() if len(Path(path).parts) > 1 and ".py" not in path}
        if isinstance(value, dict):
            return {key: self._placeless(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._placeless(entry) for entry in value]
        return ready.get(value, value) if isinstance(value, str) else value

    @property
    def folder(self) -> Path:
        """The submission's folder."""
        name = f"{self.contest.split}-{self.contest.archive.identity.name}-seed{self.seed}-{self.key[:8]}"
        return self.submissions / f"track{self.contest.track}" / self.loaded.method.name / name

    @property
    def badges(self) -> list[str]:
        """What a reader of a board must know about how the result came about."""
        badges = [badge for part in self.parts.values() for badge in self._inherited(part)]
        if self.sealed is not None:
            badges.append(levels.badge(self.sealed))
        if self.needs.transductive:
            badges.append("transductive")
        if self.needs.labels == "high":
            badges.append("HR labels")
        if self.needs.feedback:
            badges.append(TUNED_BADGE)
        if self.loaded.method.reconstruction:
            badges.append(RECONSTRUCTION_BADGE)
        return list(dict.fromkeys(badges))

    def _inherited(self, part: Plan | Ready) -> list[str]:
        """Badges that come with a part. Being fitted on another split's images is no matter here; nor is it whether a part
        re-implements an entry, which says nothing of how this method came about."""
        elsewhere = isinstance(part, Plan) and part.contest.split != self.contest.split
        badges = [badge for badge in part.badges if not levels.is_badge(badge) and badge != RECONSTRUCTION_BADGE]
        return [badge for badge in badges if not (elsewhere and badge == "transductive")]

    @property
    def sealed(self) -> str | None:
        """What the result guarantees: the weakest seal of the run and of all that it builds upon."""
        if self.seal is None:
            return None
        parts = (p.submission.sealed if isinstance(p, Ready) else p.sealed for p in self.parts.values())
        return levels.weakest([self.seal, *(seal for seal in parts if seal is not None)])

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
                **({"reconstruction": True} if method.reconstruction else {}),
            },
            "preset": self.preset,
            "parameters": self.parameters,
            "overrides": self._changed(),
            "seed": self.seed,
            "needs": {
                "inputs": sorted(self.needs.inputs),
                "labels": self.needs.labels,
                "transductive": self.needs.transductive,
                "training": self.needs.training,
                "prior": self.needs.prior,
                "feedback": self.needs.feedback,
            },
            "badges": self.badges,
            **({} if self.sealed is None else {"sealed": self.sealed}),
            "parts": {name: part.key for name, part in self.parts.items()},
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


def _usual(name: str, field: FieldInfo, preset: Mapping[str, Any]) -> Any:
    """A parameter's value where it is not given."""
    if name in preset:
        return preset[name]
    return "(required)" if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _ready(folder: Path, contest: FusionContest) -> Ready:
    """The finished submission in ``folder``, if it maps the patches of this contest's split.

    Raises SubmissionError if it is not finished, or about other data.
    """
    submission = Submission(folder)
    meta = submission.meta
    if not submission.finished:
        raise SubmissionError(f"{folder}: is not finished, so nothing can be built upon it. Run it to its end first.")
    if meta["track"] != contest.track:
        raise SubmissionError(
            f"{folder}: is a run of Track {meta['track']}; what it learned from is not shown on Track {contest.track}. "
            f"Run that method on Track {contest.track}."
        )
    kept = [probabilities_path(folder, patch_id).exists() for patch_id in contest.scored.ids]
    if any(kept) and not all(kept):
        raise SubmissionError(
            f"{folder}: probabilities of {kept.count(False)} patches are missing. Give its command again with "
            "--keep-probabilities."
        )
    mine = (contest.split, contest.archive.fingerprint(contest.split), contest.limit)
    its = (meta["split"], meta["data"]["fingerprint"], meta["data"].get("limit"))
    if mine != its:
        raise SubmissionError(
            f"{folder}: maps the {its[0]} split of {meta['data']['title']} (fingerprint {its[1]}); this run is about "
            f"the {mine[0]} split of {contest.archive.identity.title} (fingerprint {mine[1]})."
        )
    if not all(kept) and not has_maps(folder, contest.scored.ids):
        raise SubmissionError(
            f"{folder}: its scores are here and its maps are not, so nothing can be built upon it. Give the command that "
            "made it again."
        )
    return Ready(submission, soft=all(kept))


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
    preset, and for unknown or ill-typed parameters, with the valid ones and the values that this preset gives them.
    """
    if preset is None:
        preset = "quick" if demo and "quick" in method.presets else "published"
    if preset not in method.presets and preset != "published":
        raise UsageError(f"{method.name} has no preset {preset!r}; it has {', '.join(method.presets)}.")
    chosen = method.presets.get(preset, {})
    values = {**chosen, **given}
    try:
        return method.Params(**values), preset
    except ValidationError as error:
        fields = method.Params.model_fields
        valid = ", ".join(f"{name}={_usual(name, field, chosen)}" for name, field in fields.items()) or "none at all"
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']}" for e in error.errors())
        raise UsageError(
            f"{method.name}: {faults}. Its parameters, with the values of preset {preset}: {valid}."
        ) from error
