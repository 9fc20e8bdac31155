"""A filter of system calls: no sockets, no way into other processes or past the file system's rules, no privileges.

The kernel's interface: Documentation/userspace-api/seccomp_filter.rst of Linux; numbers of the calls from
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. Only the standard library is imported here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import NamedTuple

_PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 21, 22, 24, 38
_FILTER = 2
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Where ``struct seccomp_data`` holds the call's number, the architecture, and six arguments of eight bytes."""
_X32 = 0x40000000
"""Added to the numbers of a second set of calls on x86-64, which nothing uses."""

_AF_UNIX, _STREAM, _SEQPACKET, _TYPE_MASK = 1, 1, 5, 0xF
_NEW_NAMESPACES = 0x7E020000
"""Flags of ``clone`` that begin a new namespace."""
_KEPT_CAPS = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root's way to files of other users, if the rules show them at all."""
_LAST_CAP = 40
_CAP_VERSION = 0x20080522


class _Machine(NamedTuple):
    """Number by name of the calls that differ from machine to machine, and the machine's name for the filter."""

    audit: int
    syscalls: dict[str, int]


_CALLS = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "clone": (56, 220),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "unshare": (272, 97),
    "chroot": (161, 51),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "mq_open": (240, 180),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "truncate": (76, 45),
    "capget": (125, 90),
    "capset": (126, 91),
}
"""Numbers on x86-64 and on ARM64 of the calls that differ between the two."""
_MACHINES = {
    "x86_64": _Machine(0xC000003E, {name: x86 for name, (x86, _) in _CALLS.items()}),
    "aarch64": _Machine(0xC00000B7, {name: arm for name, (_, arm) in _CALLS.items()}),
}
_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
}
_LOOKED_AT = ("socketpair", "sendto", "clone", "truncate", "capget", "capset")
"""Calls that are not denied outright."""
_CLONE3 = 435
"""Its flags cannot be looked at: it is said not to exist, and the C library then uses ``clone``."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def available() -> bool:
    """Whether this kernel takes such a filter, and this module knows the machine."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES or sys.byteorder != "little":
        return False
    return int(ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_SECCOMP, *map(ctypes.c_ulong, (0, 0, 0, 0)))) >= 0


def drop_privileges() -> None:
    """Give up all capabilities but those of reading and writing whatever the file system's rules let the process see.

    Without effect for those who have none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_LAST_CAP + 1):
        if not _KEPT_CAPS >> capability & 1:
            libc.prctl(_PR_CAPBSET_DROP, *map(ctypes.c_ulong, (capability, 0, 0, 0)))
    calls = _MACHINES[platform.machine()].syscalls
    header, data = _CapHeader(_CAP_VERSION, 0), (_CapData * 2)()
    libc.syscall(calls["capget"], ctypes.byref(header), ctypes.byref(data))
    data[0] = _CapData(data[0].effective & _KEPT_CAPS, data[0].permitted & _KEPT_CAPS, 0)
    data[1] = _CapData(0, 0, 0)
    if libc.syscall(calls["capset"], ctypes.byref(header), ctypes.byref(data)):
        raise OSError(ctypes.get_errno(), "capset")


def restrict(*, truncate: bool) -> None:
    """Install the filter for this process and all its children, for good; ``truncate`` denies that call, too.

    What is denied fails with EPERM. Raises OSError if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = _program(_MACHINES[platform.machine()], truncate=truncate)
    program = _Program(len(instructions), (_Instruction * len(instructions))(*instructions))
    steps = (
        (_PR_SET_NO_NEW_PRIVS, 1, 0),
        (_PR_SET_SECCOMP, _FILTER, ctypes.addressof(program)),
    )
    for option, first, second in steps:
        if libc.prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0)):
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")


def _program(machine: _Machine, *, truncate: bool) -> list[_Instruction]:
    calls = machine.syscalls
    denied = [number for name, number in (calls | _EVERYWHERE).items() if name not in _LOOKED_AT]
    denied += [calls["truncate"]] * truncate
    deny = _Instruction(_RETURN, 0, 0, _ERROR | errno.EPERM)
    allow = _Instruction(_RETURN, 0, 0, _ALLOW)
    program = [
        _load(_ARCHITECTURE),
        _Instruction(_JUMP_EQUAL, 1, 0, machine.audit),
        _Instruction(_RETURN, 0, 0, _KILL),
        _load(_NUMBER),
        _Instruction(_JUMP_GREATER_OR_EQUAL, 0, 1, _X32),
        deny,
    ]
    for number in sorted(denied):
        program += [_Instruction(_JUMP_EQUAL, 0, 1, number), deny]
    program += [_Instruction(_JUMP_EQUAL, 0, 1, _CLONE3), _Instruction(_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    pair = [  # connected Unix sockets that can never talk to anybody else
        _argument(0),
        _Instruction(_JUMP_EQUAL, 1, 0, _AF_UNIX),
        deny,
        _argument(1),
        _Instruction(_AND, 0, 0, _TYPE_MASK),
        _Instruction(_JUMP_EQUAL, 2, 0, _STREAM),
        _Instruction(_JUMP_EQUAL, 1, 0, _SEQPACKET),
        deny,
        allow,
    ]
    addressed = [  # sendto without an address is send
        _argument(4),
        _Instruction(_JUMP_EQUAL, 1, 0, 0),
        deny,
        _argument(4, high=True),
        _Instruction(_JUMP_EQUAL, 1, 0, 0),
        deny,
        allow,
    ]
    namespaces = [_argument(0), _Instruction(_JUMP_ANY_BIT, 0, 1, _NEW_NAMESPACES), deny, allow]
    for name, block in (("socketpair", pair), ("sendto", addressed), ("clone", namespaces)):
        program += [_Instruction(_JUMP_EQUAL, 0, len(block), calls[name]), *block]
    return [*program, allow]


def _load(offset: int) -> _Instruction:
    return _Instruction(_LOAD, 0, 0, offset)


def _argument(index: int, *, high: bool = False) -> _Instruction:
    return _load(_ARGUMENTS + 8 * index + 4 * high)
