"""Plug-ins that try to get at what a track hides, or to do harm; each notes what came of every attempt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

THIEF = '''\
"""It patches the scorer as soon as it is imported."""
import ctypes, gc, io, json, os, signal, socket, subprocess, sys, time
from pathlib import Path
import numpy as np
from dfcbench.method import Method, Needs, Prediction

KNOWN = json.loads(__KNOWN__)
libc = ctypes.CDLL(None, use_errno=True)


def patch_the_scorer():
    import dfcbench.scoring
    dfcbench.scoring.confusion_matrix = lambda high, labels: np.diag(np.bincount(high.ravel(), minlength=11))
    import dfcbench.runner
    dfcbench.runner.confusion_matrix = dfcbench.scoring.confusion_matrix
    return "patched"


try:
    patch_the_scorer()
except ImportError:
    pass


def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def shell(*command):
    done = subprocess.run(command, capture_output=True, timeout=20)
    if done.returncode:
        raise PermissionError(done.stderr.decode(errors="replace")[-200:])
    return done.stdout.decode(errors="replace")[:100]


def disk():
    """Every file of the disk that can be opened and bears a label's name."""
    return [os.path.join(folder, name) for root in ("/", KNOWN["data"], os.path.dirname(KNOWN["data"]))
            for folder, _, files in os.walk(root) for name in files if "_dfc_" in name and readable(folder, name)]


def readable(folder, name):
    try:
        open(os.path.join(folder, name), "rb").close()
        return True
    except OSError:
        return False


def memory():
    """Objects that hold a path of the labels, or the data's folder, other than this file's own."""
    gc.collect()
    own = {id(value) for value in KNOWN.values()}
    texts = [str(o) for o in gc.get_objects() if isinstance(o, (str, Path)) and id(o) not in own]
    texts += [str(v) for o in gc.get_objects() if isinstance(o, dict) and o is not KNOWN
              for v in list(o.values()) if isinstance(v, (str, Path)) and id(v) not in own and len(str(v)) < 500]
    return [t for t in texts if "_dfc_" in t and "ROIs" in t or t.startswith(KNOWN["data"])]


def told():
    """Command line, environment, folder, open files and mapped files of this process, where they tell of the data."""
    where = " ".join([*sys.argv, *sys.path, os.getcwd(), *(f"{k}={v}" for k, v in os.environ.items())])
    where += " ".join(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                      if os.path.islink(f"/proc/self/fd/{n}")) + open("/proc/self/maps").read()
    return [KNOWN["data"]] * (KNOWN["data"] in where) + ["_dfc_"] * ("_dfc_" in where)


def channel(kind, **entries):
    """Ask the harness itself, past all that the contest's view refuses."""
    from dfcbench.sealing.wire import Channel
    found = [o for o in gc.get_objects() if isinstance(o, Channel)]
    for one in found:
        if one._socket.fileno() == int(sys.argv[2]):
            answer = one.ask(kind, **entries)
            if answer.kind == "refused":
                raise PermissionError(answer.header["message"])
            return answer.header
    return []


def attempts(contest, run):
    parent, label, link = os.getppid(), KNOWN["label"], str(run.scratch / "link.tif")
    yield "scorer", patch_the_scorer
    yield "open a label", lambda: open(label, "rb").read(4)
    yield "open a label by descriptor", lambda: os.read(os.open(label, os.O_RDONLY), 4)
    yield "open by a relative path", lambda: open(os.path.relpath(label), "rb").read(4)
    yield "guess from a low-resolution name", lambda: open(KNOWN["low"].replace("lc", "dfc"), "rb").read(4)
    yield "open a packed copy of labels", lambda: open(KNOWN["packed"], "rb").read(4)
    yield "open another run's matrices", lambda: open(KNOWN["other"] + "/confusion.npz", "rb").read(4)
    yield "list the data", lambda: os.listdir(KNOWN["data"])
    yield "search the disk", disk
    yield "walk the object graph", memory
    yield "read what the process was told", told
    yield "parent's memory", lambda: repr(open(f"/proc/{parent}/mem", "rb"))
    yield "parent's maps", lambda: open(f"/proc/{parent}/maps").read(9)
    yield "parent's environment", lambda: open(f"/proc/{parent}/environ", "rb").read(9)
    yield "parent's command line", lambda: open(f"/proc/{parent}/cmdline", "rb").read(9)
    yield "parent's files", lambda: os.listdir(f"/proc/{parent}/fd")
    yield "parent's folder", lambda: os.readlink(f"/proc/{parent}/cwd")
    yield "trace the parent", lambda: called(libc.ptrace(0x4206, parent, 0, 0))
    yield "read the parent's memory by call", lambda: called(libc.process_vm_readv(parent, None, 0, None, 0, 0))
    yield "take the parent's files", lambda: called(libc.syscall(438, libc.syscall(434, parent, 0), 0, 0))
    yield "root of the process", lambda: open("/proc/self/root" + label, "rb").read(4)
    yield "symbolic link", lambda: (os.symlink(label, link), open(link, "rb").read(4))
    yield "hard link", lambda: (os.link(label, link + "x"), open(link + "x", "rb").read(4))
    yield "link as an artifact", lambda: os.symlink(label, run.artifact("stolen.tif"))
    yield "follow a link that lies there", lambda: open(KNOWN["link"], "rb").read(4)
    yield "copy by a child", lambda: shell("/bin/cat", label)
    yield "another Python", lambda: shell(sys.executable, "-I", "-c", f"print(open({label!r}, 'rb').read(4))")
    yield "new user and mount namespace", lambda: shell("unshare", "-rm", "cat", label)
    yield "mount", lambda: called(libc.mount(b"none", str(run.scratch).encode(), b"tmpfs", 0, None))
    yield "io_uring", lambda: called(libc.syscall(425, 1, 0))
    yield "internet socket", lambda: socket.socket(socket.AF_INET)
    yield "version 6 socket", lambda: socket.socket(socket.AF_INET6)
    yield "Unix socket", lambda: socket.socket(socket.AF_UNIX)
    yield "datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    yield "reach the test's server", lambda: socket.create_connection(("127.0.0.1", KNOWN["port"]), 2)
    yield "kill the parent", lambda: os.kill(parent, signal.SIGTERM)
    yield "leave the group", os.setsid
    yield "write into another's submission", lambda: open(KNOWN["other"] + "/scores.json", "w").write("{}")
    yield "truncate another's submission", lambda: os.truncate(KNOWN["other"] + "/scores.json", 0)
    yield "remove another's submission", lambda: os.remove(KNOWN["other"] + "/scores.json")
    yield "replace another's submission", lambda: os.rename(run.artifact("x"), KNOWN["other"] + "/scores.json")
    yield "write into the run's own result", lambda: open(run.scratch.parent.parent / "scores.json", "w").write("{}")
    yield "write a map of its own", lambda: (run.scratch.parent.parent / "predictions").mkdir(exist_ok=False)
    yield "read what the method may not", lambda: open(run.scratch.parent.parent / "run.log").read(9)
    yield "write to the cache", lambda: open(os.path.dirname(KNOWN["packed"]) + "/x", "w").write("x")
    yield "write to the system's temporary folder", lambda: open(KNOWN["tmp"] + "/thief", "w").write("x")
    yield "write to its own source", lambda: open(__file__, "a").write("#")
    yield "labelled patches", lambda: contest.labelled
    yield "scored images while fitting", lambda: contest.target
    yield "scored images past the view", lambda: contest.to_predict()
    yield "the server's answers", lambda: contest.feedback
    yield "attribute of a patch", lambda: contest.validation[0].high
    yield "labelled set by the channel", lambda: channel("open", set="labelled")
    yield "labels by the channel", lambda: channel("read", set="validation", row=0, modality="high")
    yield "scored set by the channel", lambda: channel("open", set="scored")
    yield "answers by the channel", lambda: channel("feedback remaining")
    yield "maps by the channel", lambda: channel("part", part="x", id="y", what="labels")


class Thief(Method):
    """Tries everything, and then hands the low-resolution labels in."""

    name = "thief"
    needs = Needs(inputs={"s2"}, labels="low")

    def fit(self, contest, run):
        Path(run.artifact("x")).write_text("x")
        contest.validation
        came = {}
        for name, attempt in attempts(contest, run):
            try:
                got = attempt()
                came[name] = None if got == [] else repr(got)[:200]
            except Exception as error:
                came[name] = None
                print(name, type(error).__name__, error)
        Path(run.artifact("loot.json")).write_text(json.dumps(came))

    def predict(self, patches, run):
        for patch in patches:
            yield Prediction(patch.id, patch.low)
'''
"""It writes ``loot.json``: by attempt, what was got, None where it was stopped."""


def thief(**known: Any) -> str:
    """The thief's source, with all that a thief could know."""
    return THIEF.replace(
        "__KNOWN__", repr(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in known.items()}))
    )


def attempts() -> list[str]:
    """Names of the thief's attempts."""
    lines = (line.strip() for line in THIEF.splitlines())
    return [line.split('"')[1] for line in lines if line.startswith('yield "')]
