"""Which finished runs are of former presets: asked for in the same words today, they would be other runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dfcbench.errors import PluginError, UsageError
from dfcbench.method import Method, Params, Part
from dfcbench.plan import MOST_NESTED, resolve_parameters
from dfcbench.registry import Registry
from dfcbench.submission import Submission


class Former:
    """Tells whether a run's method, given the same parameters, runs with others today, or in another version.

    Without the run's data: a run on other data is none of a former preset. Nor is one whose defaults another machine has
    settled otherwise, such as the engine of forests. Where the method, or the run of a part, cannot be found, nothing is
    said against the run.
    """

    def __init__(self, registry: Registry, submissions: Iterable[Submission]) -> None:
        self._registry = registry
        self._runs = {submission.key: submission for submission in submissions}
        self._methods: dict[str, type[Method] | None] = {}

    def __call__(self, submission: Submission, given: Mapping[str, Any]) -> bool:
        """``given``: the parameters beside preset and defaults that such a run would be given today."""
        return self._former(submission, submission.meta["method"]["name"], given, depth=0)

    def _former(self, submission: Submission, name: str, given: Mapping[str, Any], depth: int) -> bool:
        method = self._method(name)
        if method is None:
            return False
        meta = submission.meta
        try:  # a run tells its preset, so the data do not matter
            params, _ = resolve_parameters(method, given, meta.get("preset"), demo=False)
        except UsageError:  # there is no such preset, or no such parameter, any more
            return True
        if method.version != meta["method"]["version"]:
            return True
        settled = _settled_here(params)
        if _without(params.model_dump(mode="json"), settled) != _without(meta["parameters"], settled):
            return True
        parts = _parts(method, params) if depth < MOST_NESTED else {}
        made = {part: self._runs.get(str(key)) for part, key in meta.get("parts", {}).items()}
        return any(
            self._former(run, part.method, part.parameters, depth + 1)
            for place, part in parts.items()
            if (run := made.get(place)) is not None
        )

    def _method(self, name: str) -> type[Method] | None:
        if name not in self._methods:
            try:
                self._methods[name] = self._registry.load(name).method
            except PluginError:
                self._methods[name] = None
        return self._methods[name]


def _settled_here(params: Params) -> frozenset[str]:
    """Parameters that nobody gave, and whose default each machine settles for itself: an engine that is installed there.

    A run from a machine with another one is no former one for that, and the same boards are built on both.
    """
    return frozenset(
        name
        for name, field in type(params).model_fields.items()
        if name not in params.model_fields_set and not field.is_required() and field.default_factory is None
        if getattr(params, name) != field.default
    )


def _without(parameters: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in names}


def _parts(method: type[Method], params: Params) -> Mapping[str, Part]:
    """The runs that a method builds upon; none if it cannot tell, for whatever reason: it is a stranger's."""
    try:
        return dict(method(params).parts())
    except Exception:
        return {}
