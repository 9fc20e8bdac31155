"""Landlock: a Linux process gives up, for good and for all its children, what it does not need of the file system.

The kernel's interface: Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h of Linux. No privilege
is needed. Only the standard library is imported here, as this runs before anything else does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Iterable

# System call numbers, the same on every architecture (include/uapi/asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""Rights that a rule about a file, not a folder, may grant."""

_HANDLED = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
"""Rights over files that each version of the interface added; all that are known are denied unless granted."""
_NETWORK = {4: 0b11}
"""Binding and connecting TCP sockets: granted nowhere."""
SINCE_TRUNCATE = 3
"""Version from which on truncating files can be denied."""
_SCOPES = {6: 0b11}
"""Abstract Unix sockets, and signals, to processes outside."""

RIGHTS = {
    "read": _READ_FILE | _READ_DIR | _EXECUTE,
    "write": _READ_FILE
    | _READ_DIR
    | _EXECUTE
    | _WRITE_FILE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _REFER
    | _TRUNCATE,
    "shared memory": _READ_FILE | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE,
    "device": _READ_FILE | _WRITE_FILE | _READ_DIR | _IOCTL_DEV,
}
"""By the word that ``places`` uses. No word grants making links, sockets, pipes or device files."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """Version of the kernel's interface; 0 if there is none, or Landlock is switched off."""
    if sys.platform != "linux":
        return 0
    version = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_GET_VERSION))
    return max(int(version), 0)


def scopes_signals() -> bool:
    """Whether the kernel keeps a sealed process from sending signals to others (Linux 6.12)."""
    return abi() >= min(_SCOPES)


def restrict(rules: Iterable[tuple[str, str]]) -> None:
    """Give up all access to files but that of the rules, all TCP, and what else this kernel's Landlock knows to deny.

    ``rules`` are pairs of a path and a word of ``RIGHTS``; a path that is not there is passed over. A path means what it
    leads to, links followed, and a folder means all that lies in it. Raises OSError if the kernel refuses.
    """
    libc, version = _libc(), abi()
    handled = _known(_HANDLED, version)
    attributes = _Ruleset(handled, _known(_NETWORK, version), _known(_SCOPES, version))
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint32(0)))
    try:
        for path, word in rules:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(libc, ruleset, path, RIGHTS[word] & handled)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = _Beneath(rights, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0)))
    finally:
        os.close(descriptor)


def _known(additions: dict[int, int], version: int) -> int:
    return sum(bits for since, bits in additions.items() if since <= version)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
