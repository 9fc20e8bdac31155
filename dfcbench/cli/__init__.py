"""The command line: parse, call one room, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from dfcbench.cli.app import main

__all__ = ["main"]
