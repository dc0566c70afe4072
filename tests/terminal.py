"""A command run as a person runs it: under a pseudo-terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

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
        os.chdir(folder)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        os.execve(sys.executable, [sys.executable, "-m", "shoal.cli", *words], variables | ours)
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
