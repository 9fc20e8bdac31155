"""All checks of the contract, in the order in which they are told."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from dfcbench.errors import UsageError
from dfcbench.testing import conduct, declared, endings, hardships, maps, repeats
from dfcbench.testing.check import Check

_RUNS = ("runs",)
_MAPS = ("every-patch-once",)
_SOUND = ("every-patch-once", "size", "type", "codes", "probabilities")
_ALIKE = (*_SOUND, "deterministic")

CHECKS: tuple[Check, ...] = (
    Check(
        "identity",
        "name, version, citation and summary are well-formed",
        "Set name to lower case words joined by hyphens, version to text, and give the class a docstring.",
        declared.identity,
    ),
    Check(
        "needs",
        "requires() and parts() answer alike under every preset, and the method gets to see something",
        "Let requires() return Needs(...) and parts() a mapping to Part(...), from self.params alone.",
        declared.needs,
    ),
    Check(
        "parameters",
        "every parameter has a type and a description",
        "Write each as `name: type = Field(default, description=...)`.",
        declared.parameters,
    ),
    Check(
        "defaults",
        "the defaults are valid",
        "Change the default, or the bounds that it breaks.",
        declared.defaults,
    ),
    Check(
        "unknown-parameters",
        "a parameter that does not exist is refused",
        "Leave model_config's extra='forbid' as Params has it: a typo would run with defaults.",
        declared.unknown,
    ),
    Check(
        "presets",
        "every preset is a set of valid parameters",
        "Let presets name existing parameters and values that these allow.",
        declared.presets,
    ),
    Check(
        "json",
        "parameters survive being written as JSON and read again",
        "Use types that JSON has, or give the field a serializer and a validator that undo each other.",
        declared.round_trip,
    ),
    Check(
        "immutable-parameters",
        "parameters cannot be changed once they are made",
        "Leave model_config's frozen=True as Params has it: a run's key is made from its parameters.",
        declared.immutable,
    ),
    Check(
        "constructor",
        "the constructor keeps its parameters and does nothing else",
        "Leave __init__ away, or move its work to fit: a method is also constructed to be asked for its needs.",
        declared.constructor,
    ),
    Check(
        "light-import",
        "importing the method's module imports no heavy package",
        "Import torch, sklearn and their like within the functions that use them.",
        declared.light_import,
    ),
    Check(
        "runs",
        "fit, save and predict end without an exception on a small contest",
        "Run `dfcbench methods new` for a method that works; the place of the exception is behind it.",
        maps.runs,
    ),
    Check(
        "every-patch-once",
        "predict yields one Prediction for every patch that it is asked for",
        "Loop over the patches given, and yield Prediction(patch.id, values) once for each.",
        maps.every_patch_once,
        _RUNS,
    ),
    Check(
        "size",
        "maps are as large as their patches",
        "Shape values (H, W) or (8, H, W) with the patch's own H and W, `patch.shape`.",
        maps.size,
        _MAPS,
    ),
    Check(
        "type",
        "codes are integers, probabilities floating-point numbers",
        "Convert codes with .astype(np.uint8), probabilities with .astype(np.float32).",
        maps.value_type,
        _MAPS,
    ),
    Check(
        "codes",
        "codes are of the scheme",
        "Yield codes of dfcbench.scheme (SCORED_CODES), not indices into them.",
        maps.codes,
        _MAPS,
    ),
    Check(
        "probabilities",
        "probabilities are finite, not below 0, and sum to 1 over the classes",
        "End with a softmax, or divide by the sum where there is one; other methods build on probabilities.",
        maps.probabilities,
        _MAPS,
    ),
    Check(
        "above-chance",
        "on an easy contest the maps are better than guessing",
        "See whether classes are mixed up (order of SCORED_CODES), axes swapped, or training too short (-p).",
        maps.above_chance,
        _SOUND,
    ),
    Check(
        "unfitted",
        "predict before fit says what is wrong, or works",
        "Keep what fit learns in attributes that end in an underscore (self.model_): asked for too early, they say so.",
        maps.unfitted,
    ),
    Check(
        "deterministic",
        "two runs with one seed make the same maps, byte for byte",
        "Draw from run.generator(...) alone, and seed libraries with integers drawn from it.",
        repeats.deterministic,
        _MAPS,
    ),
    Check(
        "global-state",
        "the process's random generators and settings are left as they were",
        "Use run.generator(...), estimators' random_state and torch.random.fork_rng instead of global seeds and settings.",
        repeats.global_state,
        _RUNS,
    ),
    Check(
        "order",
        "the order of the patches does not matter",
        "Let nothing pass from one patch to the next in predict; use run.generator(..., patch.id) for draws.",
        repeats.order,
        _MAPS,
    ),
    Check(
        "subset",
        "which other patches are asked for does not matter",
        "Learn what concerns all patches in fit, from contest.target: a resumed run asks for those that are missing.",
        repeats.subset,
        _MAPS,
    ),
    Check(
        "save-load",
        "a fresh instance that loads what was saved makes the same maps",
        "Keep what fit learns in attributes that end in an underscore, or override save and load together.",
        repeats.save_load,
        _MAPS,
    ),
    Check(
        "workers",
        "one worker thread and two make the same maps, byte for byte",
        "Let run.workers say how fast, never what: share state between threads read-only, and fix the order of sums.",
        repeats.workers,
        _ALIKE,
    ),
    Check(
        "new-process",
        "a new process that knows only name and parameters makes the same maps",
        "Depend on no state of the module, and neither on hash() nor on the order of a set.",
        repeats.new_process,
        _ALIKE,
    ),
    Check(
        "inputs-unchanged",
        "arrays that are handed over are not written into",
        "Work on copies: `x = patch.s2.astype(np.float32)` instead of `patch.s2 -= ...`.",
        conduct.inputs_unchanged,
        _RUNS,
    ),
    Check(
        "declared-needs",
        "it asks for nothing that its needs do not declare",
        "Declare it in needs, or requires(); boards tell readers what a method has seen.",
        conduct.declared_needs,
        _RUNS,
    ),
    Check(
        "hidden-labels",
        "the maps do not depend on the labels that the track hides",
        "Read what the contest and the patches hand over, and no files of your own finding.",
        conduct.hidden_labels,
        _ALIKE,
    ),
    Check(
        "silent",
        "it prints nothing",
        "Use run.message(...) for text, run.log(...) for numbers, run.progress(...) for progress.",
        conduct.silent,
        _RUNS,
    ),
    Check(
        "writes",
        "it writes to its own folders and nowhere else",
        "Use run.scratch for temporary files, run.artifact(name) for figures, and save's folder for what was learned.",
        conduct.writes,
        _RUNS,
    ),
    Check(
        "missing-modality",
        "a patch without one of its files gets a map, or an error that names the file",
        "Let the DataError pass that reading the patch raises, instead of catching every exception.",
        hardships.missing_modality,
        _SOUND,
    ),
    Check(
        "no-data",
        "pixels without data get maps that are right in form, or a clear error",
        "Replace NaN of Sentinel-1 (dfcbench.sensors.scale_s1 does), or raise dfcbench.errors.DataError with the reason.",
        hardships.no_data,
        _SOUND,
    ),
    Check(
        "odd-size",
        "patches of any size get maps of their size, or a clear error",
        "Pad to what the network needs and cut off again, or raise dfcbench.errors.DataError with the reason.",
        hardships.odd_size,
        _SOUND,
    ),
    Check(
        "resume",
        "a run that was killed goes on and ends with the same bytes",
        "Restore from run.load_checkpoint all that the rest of fit depends on, generators too, or start that stage anew.",
        endings.resume,
        ("new-process", "order", "subset", "save-load"),
    ),
    Check(
        "stop",
        "Ctrl-C ends a run soon, leaves no half files, and the run can go on",
        "Let KeyboardInterrupt pass: catch Exception, never BaseException; and write files through dfcbench.files.",
        endings.stop,
        ("new-process", "order", "subset", "save-load"),
    ),
)

BY_NAME = {check.name: check for check in CHECKS}


def chosen(names: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these names, in their usual order; all if none is named. Raises UsageError for an unknown one."""
    for name in names:
        if name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(BY_NAME)}."
            raise UsageError(f"No check is called {name!r}. {hint}")
    return tuple(check for check in CHECKS if not names or check.name in names)
