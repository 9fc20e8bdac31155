"""``dfcbench ui`` with MLflow's real server: it starts, says what it shows, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from dfcbench.tracking_store import is_empty
from tests.conftest import Shell

START_SECONDS = 120.0
END_SECONDS = 20.0


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


def wait_for_page(port: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                assert page.status == 200
                return
        except OSError:
            time.sleep(0.2)
    process.terminate()
    raise AssertionError(f"no page; {process.communicate()}")


def processes_with(words: str) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if words in line]


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_server_ends_with_the_command_and_quietly(dfcbench: Shell, port: int, number: int, code: int) -> None:
    process = dfcbench.start("ui", "--port", port)
    wait_for_page(port, process)
    running = processes_with(f"--port {port}")
    process.send_signal(number)
    _, err = process.communicate(timeout=END_SECONDS)
    assert len(running) > 1, "the command, and servers of its own"
    assert process.returncode == code
    assert "Traceback" not in err
    assert f"http://127.0.0.1:{port}" in err
    assert not processes_with(f"--port {port}")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))


def test_a_port_that_is_taken_is_told_at_once(dfcbench: Shell) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        failed = dfcbench("ui", "--port", taken, expect=2)
    assert failed.stderr.startswith(f"error: 127.0.0.1:{taken}: no server can listen there")
    assert "another port, such as --port" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_store_without_runs_is_known_and_one_with_runs_too(tmp_path: Path, empty_store: Path) -> None:
    assert is_empty(f"sqlite:///{tmp_path}/absent.db")
    assert is_empty(f"sqlite:///{empty_store}")
    assert not is_empty("http://somewhere:5000")
    damaged, filled = tmp_path / "damaged.db", tmp_path / "filled.db"
    damaged.write_text("no database at all, and longer than the head of one" * 10)
    assert not is_empty(f"sqlite:///{damaged}")
    with sqlite3.connect(filled) as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.execute("INSERT INTO runs VALUES ('a')")
    assert not is_empty(f"sqlite:///{filled}")


def test_a_folder_without_runs_is_told_how_to_make_one(monkeypatch, capsys, tmp_path: Path, port: int) -> None:
    import typer

    from dfcbench.cli import ui as command

    served = []

    def serve(arguments, environment):
        served.append((arguments, environment))
        return 0

    monkeypatch.setattr(command, "_serve", serve)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        command.ui(port=port, host="127.0.0.1")
    told = capsys.readouterr().err
    assert "No runs are recorded in" in told
    assert "dfcbench run --track 1" in told
    ((arguments, environment),) = served
    assert str(port) in arguments, "it opens all the same"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
