"""``dfcbench ui``: MLflow's own pages, served by a child that ends, with all its processes, when this command does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.errors import UsageError

_PATIENCE_SECONDS = 5.0
"""Between asking the server's processes to end and killing them."""

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What ends the command: Ctrl-C, a polite kill, and, where there is one, a terminal that was closed."""


@app.command()
@reported
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the page.")] = 5000,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on the store that runs are recorded in; Ctrl-C ends it."""
    from dfcbench.tracking_store import UI_ENVIRONMENT, is_empty, store_uri, ui_command

    store = store_uri()
    command = ui_command(port=port, host=host)
    if store.startswith(("http://", "https://")):
        typer.echo(f"Runs recorded in {store}: {store}", err=True)
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    _require_free(host, port)
    if is_empty(store):
        typer.echo(
            f"No runs are recorded in {store} yet. Make one: dfcbench run --track 1 --method bag; or record the finished "
            "ones of a folder of submissions: dfcbench track sync",
            err=True,
        )
    address = f"[{host}]" if ":" in host else host
    typer.echo(f"Runs recorded in {store}: http://{address}:{port} (Ctrl-C ends it)", err=True)
    raise typer.Exit(_serve(command, {**UI_ENVIRONMENT, **os.environ}))


def _require_free(host: str, port: int) -> None:
    """Raise UsageError unless a server can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            if os.name == "posix":  # as servers do: connections that are fading out do not count
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        other = port + 1 if port < 65535 else port - 1
        raise UsageError(
            f"{host}:{port}: no server can listen there ({error.strerror or error}). "
            f"Choose another port, such as --port {other}, or another --host."
        ) from error


def _serve(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the server until it ends, or Ctrl-C or a signal comes; its exit status, 0 after Ctrl-C, 128 + the signal.

    On POSIX it has a session of its own: Ctrl-C in the terminal does not reach its processes one by one, and they end
    together, whatever becomes of the first.
    """
    posix = os.name == "posix"
    done = threading.Event()
    with _heard(done) as came:
        server = subprocess.Popen(command, env=environment, start_new_session=posix)
        threading.Thread(target=_wait, args=(server, done), daemon=True).start()
        while not done.wait(1.0):  # with a limit, as Windows hears no Ctrl-C while it waits without one
            pass
        _end(server, group=posix)
    if not came:
        return server.returncode
    return 0 if came[0] == signal.SIGINT else 128 + came[0]


def _wait(server: subprocess.Popen[bytes], done: threading.Event) -> None:
    server.wait()
    done.set()


@contextlib.contextmanager
def _heard(done: threading.Event) -> Iterator[list[int]]:
    """Signals that would end this process set ``done`` instead, and are listed."""
    came: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        came.append(number)
        done.set()

    former = {number: signal.signal(number, hear) for number in _SIGNALS}
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _end(server: subprocess.Popen[bytes], *, group: bool) -> None:
    """End the server, and on POSIX whatever is left of its process group."""
    if not group:
        server.terminate()
        server.wait()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # none left; macOS says so of the dead, too
        os.killpg(server.pid, signal.SIGTERM)
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            time.sleep(0.05)
            os.killpg(server.pid, 0)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
