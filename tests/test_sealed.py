"""The pieces of the seal: what is granted, what is refused, and what crosses between the two processes."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfcbench.archive import Archive
from dfcbench.errors import ContractError, HiddenError, MethodCrash, UsageError
from dfcbench.files import cache_directory
from dfcbench.fitted import command
from dfcbench.registry import Entry, Registry
from dfcbench.report.html import BADGES
from dfcbench.sealing import compiled, failures, guard, landlock, levels, marks, seccomp
from dfcbench.sealing.places import environment, hidden_places, link_files, named_files, places
from dfcbench.sealing.wire import MOST_HEADER, Channel, Ended, Message
from tests.made_submissions import made_submission
from tests.plugins import MAJORITY

posix = pytest.mark.skipif(os.name != "posix", reason="sealed runs are offered on POSIX only")
linux = pytest.mark.skipif(bool(levels.lacking()), reason=f"no seal by the kernel here: {levels.lacking()}")
MOST = 4096


# What is said


def pair() -> tuple[Channel, Channel]:
    """The harness's end, which trusts nothing, and the method's."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    return Channel(ours, MOST), Channel(theirs)


@posix
@pytest.mark.parametrize(
    "values",
    [
        np.arange(12, dtype=np.uint16).reshape(3, 4),
        np.zeros((0, 5), np.float32),
        np.array(2.5),
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.array([1 + 2j]),
        np.array([True, False]),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_arrays_arrive_as_they_were_sent_and_may_be_written_to(values):
    ours, theirs = pair()
    theirs.send("prediction", values, id="x")
    message = ours.receive()
    assert (message.kind, message.text("id")) == ("prediction", "x")
    np.testing.assert_array_equal(message.array(), values)
    assert message.array().dtype == values.dtype
    assert message.array().shape == values.shape
    if values.ndim and values.size:
        message.array()[...] = 0


@posix
def test_open_files_go_to_the_method_and_never_the_other_way(tmp_path):
    ours, theirs = pair()
    (tmp_path / "x").write_bytes(b"content")
    with (tmp_path / "x").open("rb") as file:
        ours.send("answer", files=(file.fileno(),))
        (received,) = theirs.receive().files
        assert os.pread(received, 7, 0) == b"content"
        os.close(received)
        theirs.send("done", files=(file.fileno(),))
        assert ours.receive().files == ()


def raw(header: object, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(4, "big") + text


@posix
@pytest.mark.parametrize(
    "sent",
    [
        raw(b"", length=0),
        raw(b"{}", length=MOST_HEADER + 1),
        raw(b"not JSON"),
        raw([1, 2]),
        raw(b"[" * 100_000),
        raw({"kind": "x"}),
        raw({"kind": "x", "arrays": 5, "files": 0}),
        raw({"kind": "x", "arrays": [["|O", [1]]], "files": 0}),
        raw({"kind": "x", "arrays": [["<f8", [-1]]], "files": 0}),
        raw({"kind": "x", "arrays": [["<f8", [1 << 40, 1 << 40]]], "files": 0}),
        raw({"kind": "x", "arrays": [["<f8", [1] * 40]], "files": 0}),
        raw({"kind": "x", "arrays": [["<f3", [1]]], "files": 0}),
        raw({"kind": "x", "arrays": [["<f8", [MOST // 8]], ["|u1", [1]]], "files": 0}),
        raw(b'{"kind": "x", "arrays": [["<f8", [1e999]]], "files": 0}'),
        raw({"kind": "x", "arrays": [["<f8", [0, 1 << 70]]], "files": 0}),
    ],
    ids=lambda sent: repr(sent[4:40]),
)
def test_what_is_no_message_is_refused_before_memory_is_taken(sent):
    ours, theirs = pair()
    theirs._socket.sendall(sent)
    with pytest.raises(ContractError, match="method's process sent"):
        ours.receive()


@posix
@pytest.mark.parametrize("sent", [b"", b"\0\0", raw({"kind": "x", "arrays": [["<f8", [4]]], "files": 0}) + b"123"])
def test_a_message_cut_short_is_the_end_of_the_channel(sent):
    ours, theirs = pair()
    theirs._socket.sendall(sent)
    theirs.close()
    with pytest.raises(Ended):
        ours.receive()


def test_entries_of_another_type_are_refused():
    message = Message({"kind": "x", "row": True, "step": "1", "values": []})
    for ask in (
        lambda: message.whole("row"),
        lambda: message.number_or_none("step"),
        lambda: message.mapping("values"),
    ):
        with pytest.raises(ContractError, match="sent a message whose"):
            ask()
    assert message.number_or_none("nothing") is None


def test_errors_cross_by_name_and_text():
    told = failures.told(HiddenError("not yours"))
    assert type(failures.rebuilt(told["error"], told["message"])) is HiddenError
    other = failures.rebuilt("ZeroDivisionError", "by zero", "the traceback")
    assert (type(other).__name__, str(other)) == ("ZeroDivisionError", "by zero")
    assert isinstance(other, Exception)
    assert type(failures.rebuilt("no name; at all", "x")).__name__ == "Exception"
    assert str(failures.rebuilt("UsageError", "a\x1b]0;title\x07b\nc")) == "a ]0;title b\nc"

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert failures.told(Mute())["message"] == "(its text raised ValueError)"
    ended = failures.ended("bag", "fit", -9)
    assert isinstance(ended, MethodCrash)
    assert "ended by SIGKILL, perhaps for want of memory" in str(ended)


# What is granted


@pytest.fixture
def plugin(tmp_path: Path) -> Entry:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "majority.py").write_text(MAJORITY)
    return Registry().find(str(tmp_path / "mine" / "majority.py"))


def readable(entry: Entry, hidden: list[Path]) -> set[Path]:
    return {Path(path) for path, word in places(entry, hidden, (), ()).rules if word == "read"}


def test_nothing_that_is_granted_holds_a_label_or_a_submission(small, plugin, tmp_path):
    hidden = hidden_places(small, tmp_path / "submissions")
    labels = {
        record.files["dfc"].resolve()
        for records in small.splits.values()
        for record in records
        if "dfc" in record.files
    }
    assert labels
    granted = [path.resolve() for path in readable(plugin, hidden)]
    for place in (*labels, tmp_path / "submissions", cache_directory()):
        assert not any(place.is_relative_to(path) for path in granted), place


def test_code_beside_a_plug_in_is_granted_and_nothing_else(plugin, tmp_path):
    mine, secret = tmp_path / "mine", tmp_path / "secret" / "label.tif"
    secret.parent.mkdir()
    secret.write_text("x")
    (mine / "helper.py").touch()
    (mine / "link.py").symlink_to(secret)
    (mine / "notes.txt").touch()
    (mine / "package").mkdir()
    (mine / "package" / "__init__.py").touch()
    (mine / "keeps").mkdir()
    (mine / "keeps" / "__init__.py").touch()
    (mine / "submissions").mkdir()
    found = places(plugin, [secret.parent, mine / "keeps" / "labels"], (), ())
    granted = {Path(path) for path, word in found.rules if word == "read" and Path(path).is_relative_to(mine)}
    assert granted == {mine / "majority.py", mine / "helper.py", mine / "package"}
    assert set(found.beside) == {"majority", "helper", "package"}


def test_modules_on_the_search_path_are_found_without_showing_the_folders_around_them(plugin, tmp_path, monkeypatch):
    around = tmp_path / "project"
    for name in ("library", "broken"):
        (around / name).mkdir(parents=True)
        (around / name / "__init__.py").touch()
    (around / "submissions").mkdir()
    (around / "single.py").touch()
    monkeypatch.syspath_prepend(around)
    found = places(plugin, [around / "submissions", around / "broken" / "labels"], (), ())
    assert {name for name, file in found.modules.items() if Path(file).is_relative_to(around)} == {"library", "single"}
    assert str(around) not in found.path
    assert around not in {Path(path) for path, _ in found.rules}


def test_labels_within_python_itself_cannot_be_hidden_and_that_is_told(plugin):
    with pytest.raises(UsageError, match="which the method needs"):
        places(plugin, [Path(sys.prefix) / "share" / "DFC2020"], (), ())


def test_links_to_labels_elsewhere_are_followed_when_it_is_asked_what_to_hide(tmp_path, small_root):
    real = next(small_root.rglob("*_test_dfc_0_p0.tif"))
    linked = tmp_path / "linked"
    for source in small_root.rglob("*_test_*_p0.tif"):
        (linked / source.parent.name).mkdir(parents=True, exist_ok=True)
        (linked / source.parent.name / source.name).symlink_to(source)
    hidden = hidden_places(Archive.open(linked), tmp_path)
    assert real.parent.resolve() in hidden
    assert (linked / real.parent.name).resolve() in hidden


def test_files_that_a_person_names_are_shown_unless_they_are_labels(small_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sub").mkdir()
    for name in ("w.pt", "sub/v.pt"):
        (tmp_path / name).write_text(name)
    given = {"weights": "sub/v.pt", "list": [{"x": "~/w.pt"}], "text": "words", "number": 3, "folder": "sub"}
    files = named_files(given)
    assert files == {"sub/v.pt": tmp_path / "sub" / "v.pt", "~/w.pt": tmp_path / "w.pt"}
    (tmp_path / "home").mkdir()
    link_files(files, tmp_path / "home")
    assert (tmp_path / "home" / "sub" / "v.pt").read_text() == "sub/v.pt"
    assert (tmp_path / "home" / "w.pt").read_text() == "w.pt"
    label = next(small_root.rglob("*_test_dfc_*.tif"))
    (tmp_path / "innocent.pt").symlink_to(label)
    for value in (str(label), "innocent.pt"):
        with pytest.raises(UsageError, match="holds high-resolution labels"):
            named_files({"weights": value})
    with pytest.raises(UsageError, match="absolute path"):
        named_files({"weights": "sub/../w.pt"})


def test_the_environment_tells_nothing_of_data_and_submissions(tmp_path, monkeypatch):
    for name in (
        "DFCBENCH_DATA",
        "DFCBENCH_SUBMISSIONS",
        "MLFLOW_TRACKING_URI",
        "AWS_SECRET_ACCESS_KEY",
        "PWD",
        "OLDPWD",
    ):
        monkeypatch.setenv(name, "/data/secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = environment(tmp_path)
    assert "/data/secret" not in found.values()
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["HOME"] == found["DFCBENCH_CACHE"] == str(tmp_path)


def test_compiled_code_is_handed_over_as_a_copy_where_numba_looks_for_it(tmp_path, monkeypatch):
    from numba.core.caching import _CacheLocator

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kept = tmp_path / "package" / "part" / "__pycache__" / "kernel.py311.nbi"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"code")
    (kept.parent / "kernel.pyc").touch()
    compiled.hand_over(tmp_path / "package", tmp_path / "cache")
    name = _CacheLocator.get_suitable_cache_subpath(str(kept.parents[1] / "kernel.py"))
    assert [path.relative_to(tmp_path / "cache") for path in (tmp_path / "cache").rglob("*.*")] == [
        Path(name, kept.name)
    ]
    assert not (tmp_path / "cache" / name / kept.name).is_symlink()


# What the kernel does with it

TRIES = """
import json, os, socket, sys
sys.path[:0] = {path!r}
from dfcbench.sealing import landlock, seccomp
if sys.argv[1] == "landlock":
    landlock.restrict([({open!r}, "read"), ({work!r}, "write"), ("/nowhere/at/all", "read")])
else:
    seccomp.drop_privileges()
    seccomp.restrict(truncate=True)
tried = {{}}
for name, attempt in {{
    "read what is open": lambda: open({open!r} + "/a").read(),
    "read what is not": lambda: open({other!r} + "/a").read(),
    "follow a link": lambda: open({work!r} + "/link").read(),
    "list": lambda: os.listdir({other!r}),
    "write where it may": lambda: open({work!r} + "/new", "w").write("x"),
    "write where it may read": lambda: open({open!r} + "/a", "w"),
    "truncate": lambda: os.truncate({other!r} + "/a", 0),
    "make a link": lambda: os.symlink({other!r}, {work!r} + "/second"),
    "make a pipe": lambda: os.mkfifo({work!r} + "/pipe"),
    "move out": lambda: os.rename({work!r} + "/new", {other!r} + "/new"),
    "move in": lambda: os.rename({other!r} + "/a", {work!r} + "/a"),
    "signal": lambda: os.kill(os.getppid(), 0),
    "socket": lambda: socket.socket(),
    "pair": lambda: socket.socketpair(),
    "send": lambda: [pair[0].send(b"x") for pair in [socket.socketpair()]],
    "leave": lambda: os.setsid(),
}}.items():
    try:
        attempt()
        tried[name] = "done"
    except OSError as error:
        tried[name] = type(error).__name__
print(json.dumps(tried))
"""


@pytest.fixture
def tried(tmp_path):
    for name in ("open", "other", "work"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("content")
    (tmp_path / "work" / "link").symlink_to(tmp_path / "other" / "a")
    folders = {name: str(tmp_path / name) for name in ("open", "other", "work")}
    source = TRIES.format(path=[str(Path(compiled.__file__).parents[2])], **folders)

    def run(which: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", source, which], capture_output=True, text=True, check=True, timeout=60
        )
        told: dict[str, str] = json.loads(done.stdout)
        return told

    return run


@linux
def test_landlock_leaves_what_is_granted_and_nothing_more(tried):
    came = tried("landlock")
    allowed = {"read what is open", "write where it may", "socket", "pair", "send", "leave"}
    if landlock.abi() < landlock.SINCE_TRUNCATE:
        allowed.add("truncate")
    if not landlock.scopes_signals():
        allowed.add("signal")
    assert {name for name, what in came.items() if what == "done"} == allowed


@linux
def test_the_filter_denies_sockets_and_leaves_pairs(tried):
    came = tried("filter")
    assert {name for name, what in came.items() if what == "PermissionError"} == {"truncate", "socket", "leave"}


@pytest.mark.skipif(platform.system() != "Linux", reason="the kernel's own list of calls is Linux's")
def test_the_numbers_of_system_calls_are_the_kernels():
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the C library's headers are not installed (apt-get install libc6-dev)")
    lines = (line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    known = {words[1].removeprefix("__NR_"): int(words[2]) for words in lines}
    ours = {**seccomp._MACHINES["x86_64"].syscalls, **seccomp._EVERYWHERE, "clone3": seccomp._CLONE3}
    assert {name: known[name] for name in ours} == ours


# What is told and noted


def test_the_harness_is_closed_and_the_methods_interface_is_open():
    finder = guard.Guard()
    for name in ("dfcbench.scoring", "dfcbench.runner", "dfcbench.submission", "dfcbench.report.html", "dfcbench.maps"):
        with pytest.raises(ImportError, match="is not there in a sealed run"):
            finder.find_spec(name)
    for name in (
        "dfcbench",
        "dfcbench.method",
        "dfcbench.patches",
        "dfcbench.sealing.wire",
        "numpy",
        "dfcbench_methods.bag",
    ):
        assert finder.find_spec(name) is None


def test_levels_are_ordered_and_each_has_a_badge_with_a_meaning():
    assert levels.weakest([levels.KERNEL, levels.PROCESS, levels.KERNEL]) == levels.PROCESS
    assert levels.at_least(levels.KERNEL, levels.PROCESS)
    assert not levels.at_least(levels.PROCESS, levels.KERNEL)
    assert not levels.at_least(None, levels.PROCESS)
    assert not levels.at_least("made up", levels.PROCESS)
    assert {levels.badge(level) for level in levels.LEVELS} <= BADGES.keys()


def test_windows_is_told_that_there_is_no_seal(monkeypatch):
    levels.offered.cache_clear()
    monkeypatch.setattr(levels.os, "name", "nt")
    with pytest.raises(UsageError, match="is not offered"):
        levels.offered()


@pytest.mark.parametrize(("system", "words"), [("Darwin", "Darwin has no Landlock"), ("Linux", "offers no Landlock")])
def test_where_the_kernel_has_no_landlock_the_process_alone_is_offered(monkeypatch, system, words):
    levels.offered.cache_clear()
    monkeypatch.setattr(levels.platform, "system", lambda: system)
    monkeypatch.setattr(levels.landlock, "abi", lambda: 0)
    assert words in levels.lacking()
    assert levels.offered() == levels.PROCESS
    levels.offered.cache_clear()


def test_only_what_was_begun_under_such_a_seal_goes_on(tmp_path):
    work = tmp_path / "work"
    assert marks.may_go_on(work, levels.KERNEL, levels.PROCESS)
    assert not marks.may_go_on(work, levels.PROCESS, levels.KERNEL)
    work.mkdir()
    assert not marks.may_go_on(work, levels.KERNEL, levels.KERNEL), "something was begun there, and nothing says how"
    marks.mark(work, levels.KERNEL)
    assert marks.may_go_on(work, None, levels.KERNEL)
    marks.mark(work, None)
    assert not marks.may_go_on(work, None, levels.PROCESS)
    (work / marks.MARK).write_text("{")
    assert not marks.may_go_on(work, None, levels.PROCESS)


def test_submissions_tell_their_seal_and_old_ones_have_none(tmp_path):
    assert made_submission(tmp_path / "a").sealed is None
    sealed = made_submission(tmp_path / "b", sealed="kernel")
    assert sealed.sealed == "kernel"
    assert "--sealed" in command(sealed)
