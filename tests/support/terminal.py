"""A command run as a person runs it: under a pseudo-terminal of a given width, or into pipes.

It runs in a copy of the process of the tests, since a new process would import everything first.
"""

from __future__ import annotations

import fcntl
import os
import pkgutil
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import traceback
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import shoal.cli
import shoal.review
from shoal.cli import main

for package in (shoal.cli, shoal.review):  # what every copy would import anew
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            import_module(f"{package.__name__}.{module.name}")

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """What a command printed to a terminal, and its exit code."""

    def __init__(self, output: str, exit_code: int) -> None:
        self.styled = output
        self.text = _STYLE.sub("", output)
        self.lines = self.text.splitlines()
        self.exit_code = exit_code


def run_in_terminal(words: list[str], *, width: int, folder: Path, answer: str = "", **environment: str) -> Screen:
    """Run `shoal WORDS` in `folder` in a terminal of `width` columns, typing `answer`."""
    # The variables are handed over whole: readline, where pytest loads it, sets COLUMNS behind Python's back.
    ours = {"TERM": "xterm-256color", **environment}
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        _shoal(words, folder, variables | ours)
    if answer:
        os.write(terminal, answer.encode())
    output = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        output += part
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return Screen(output.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status))


def run_in_pipes(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `shoal WORDS` in `folder`, with nothing to read and nobody at a terminal."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as complaints, open(os.devnull) as nothing:
        pid = os.fork()
        if pid == 0:
            for number, file in enumerate((nothing, out, complaints)):
                os.dup2(file.fileno(), number)
            _shoal(words, folder, {**os.environ, **environment})
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        complaints.seek(0)
        said = out.read().decode(), complaints.read().decode()
    return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *said)


def _shoal(words: list[str], folder: Path, variables: dict[str, str]) -> NoReturn:
    """Be the command; where this process has come from is forgotten."""
    code = 99
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["shoal", *words]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
