"""What a sealed run guarantees, and which guarantee this machine can give."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import cache

from dfcbench.errors import UsageError
from dfcbench.sealing import landlock, seccomp

KERNEL = "kernel"
"""The kernel keeps the method's process from files, network and other processes."""
PROCESS = "process"
"""The method has a process of its own that is told no path to a hidden label; the kernel does not keep it from looking."""

LEVELS = (PROCESS, KERNEL)
"""From the weakest to the strongest."""

MEANINGS = {
    KERNEL: "the method ran in a process that the kernel kept from hidden labels, the network and other processes",
    PROCESS: "the method ran in a process of its own that was told no path to hidden labels; the kernel did not guard them",
}

_PREFIX = "sealed: "


def badge(level: str) -> str:
    """The badge of a run that was sealed so."""
    return _PREFIX + level


def is_badge(text: str) -> bool:
    """Whether a badge tells of a seal."""
    return text.startswith(_PREFIX)


def at_least(level: str | None, wanted: str) -> bool:
    """Whether a seal guarantees what another one does; None is no seal."""
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(wanted)


def weakest(levels: Iterable[str]) -> str:
    """The weakest of these, of which there is at least one."""
    return min(levels, key=LEVELS.index)


@cache
def offered() -> str:
    """The strongest seal that this machine offers. Raises UsageError where there is none."""
    if os.name != "posix":
        raise UsageError(
            f"--sealed: is not offered on {platform.system()}. Use Linux, or run without it; the board then shows no seal."
        )
    return KERNEL if not lacking() else PROCESS


def lacking() -> str:
    """Why the kernel cannot seal a process here, as part of a sentence; empty if it can."""
    if platform.system() != "Linux":
        return f"{platform.system()} has no Landlock"
    if not landlock.abi():
        return "this Linux kernel offers no Landlock (from 5.13 on, if it is switched on)"
    if not seccomp.available():
        return f"there is no system call filter for {platform.machine()} here"
    return ""
