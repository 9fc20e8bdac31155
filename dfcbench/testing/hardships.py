"""Checks of patches that are not as they should be, or not as they usually are: right maps, or a clear error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dfcbench.patches import PatchSet
from dfcbench.records import MODALITIES
from dfcbench.testing.check import Fault, Skip, blame
from dfcbench.testing.contest import BLANK, ODD, Variant
from dfcbench.testing.maps import require_maps
from dfcbench.testing.subject import Maps, Subject, refusal


def missing_modality(subject: Subject) -> str:
    """A patch without one of its files gets a map that is right in form, or the error that names the file."""
    if not subject.modalities:
        raise Skip("it reads no images and no labels")
    told = []
    for modality in subject.modalities:
        patches = _without(subject, modality)
        work = partial(subject.predict, subject.first.method, patches)
        told.append(f"without {modality} {_mapped_or_refused(subject, work, patches, f'without {modality}')}")
    return "; ".join(told)


def no_data(subject: Subject) -> str:
    """Pixels without data (NaN in Sentinel-1, 0 in Sentinel-2, no label) get maps that are right in form, or an error."""
    return _on_variant(subject, BLANK, "pixels without data")


def odd_size(subject: Subject) -> str:
    """Patches that are neither square nor a multiple of 32 pixels get maps of their size, or an error that says why not."""
    return _on_variant(subject, ODD, "odd sizes")


def _on_variant(subject: Subject, variant: Variant, what: str) -> str:
    if not subject.modalities:
        raise Skip("it reads no images and no labels")
    patches = subject.shown(variant)

    def work() -> Maps:
        if subject.needs.transductive:
            return subject.trial(variant.name, variant).maps
        return subject.predict(subject.first.method, patches, variant)

    return _mapped_or_refused(subject, work, patches, what)


def _mapped_or_refused(subject: Subject, work: Callable[[], Maps], patches: PatchSet, what: str) -> str:
    """Whether ``work`` gives maps of the patches or a clear error; raises Fault if it gives neither."""
    try:
        maps = work()
    except Skip:
        raise
    except Exception as error:
        if refusal(error):
            return "refused"
        raise Fault(f"{what}: {blame(error)}") from error
    try:
        require_maps(subject, maps, {patch.id: patch.shape for patch in patches})
    except Fault as fault:
        raise Fault(f"{what}: {fault}") from None
    return "mapped"


def _without(subject: Subject, modality: str) -> PatchSet:
    """The scored patches, the second of which lacks a modality's file."""
    token = MODALITIES[modality].token
    records = list(subject.contest().scored._records)
    records[1] = records[1].restricted(set(records[1].files) - {token})
    return PatchSet(records).restricted(subject.modalities)
