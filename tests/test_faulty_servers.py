"""MLflow servers that refuse, fail or never answer: a run ends as well as it would have, with one warning, and in time."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import datamaker
from tests.in_process import Outcome, call, content
from tests.plugins import LEARNING

PATIENCE = 120
"""Seconds after which a command is taken to hang. The servers here are given up after seconds."""


class _Failing(BaseHTTPRequestHandler):
    """Answers everything with 500, as a server does whose database is gone."""

    def do_GET(self) -> None:
        body = b'{"error_code": "INTERNAL_ERROR", "message": "the database is gone"}'
        self.send_response(500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound, and nobody listens


@contextlib.contextmanager
def failing() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]  # connections are taken by the kernel, and nobody answers


SERVERS = {"refuses": refusing, "fails": failing, "never answers": silent}


def in_time(*arguments: object, store: str) -> Outcome:
    done: list[Outcome] = []
    thread = threading.Thread(target=lambda: done.append(call(*arguments, store=store)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert done, f"{arguments} hangs, or raised"
    return done[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datamaker.write_contest(tmp_path_factory.mktemp("servers") / "data", validation=2, test=3)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_run_is_not_held_up_by_its_mlflow_server_and_sync_records_it_later(
    tmp_path: Path, data: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capfd
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "learning.py").write_text(LEARNING)
    command = ("run", "--track", 1, "--method", "learning.py", "--data", data, "--workers", 1)
    with SERVERS[kind]() as port:
        store = f"http://somebody:secret@127.0.0.1:{port}"
        outcome = in_time(*command, store=store)
        assert outcome.code == 0, outcome.err
        assert "average accuracy" in outcome.out
        assert outcome.err.count("warning:") == 1
        assert "`dfcbench track sync` records it later" in outcome.err
        said = outcome.err + capfd.readouterr().err
        assert "secret" not in said and "Traceback" not in said
        (folder,) = tmp_path.glob("submissions/track1/learning/*")
        before = content(folder)
        failed = in_time("track", "sync", store=store)
        assert failed.code in (1, 7)
        assert "secret" not in failed.err and "Traceback" not in failed.err
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    assert "1 run(s) recorded" in call("track", "sync", store=f"sqlite:///{tmp_path / 'mlflow.db'}").out
    assert content(folder) == before
