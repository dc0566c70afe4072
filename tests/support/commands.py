"""Commands of the documentation, typed: those of shoal in this process, where torch is loaded already."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
from typing import NamedTuple

from shoal.cli import run
from shoal.cli import train as main


def typed(command: str) -> tuple[int, str]:
    """Exit code and output of `shoal ...` or `python train.py ...`, in this process; of anything else in a shell."""
    line = shlex.split(command)
    if line[:2] == ["python", "train.py"]:
        line = ["shoal", "train", *line[2:]]
    if line[0] != "shoal" or "--help" in line:
        return in_a_shell(command)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(line[1:])
    return code, out.getvalue()


class Ended(NamedTuple):
    """What a command left on the terminal."""

    returncode: int
    stdout: str
    stderr: str


def trained(*words: str) -> Ended:
    """What `python train.py ...` comes to, in this process: workers then come from a server that is there already."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words])
    assert "Traceback" not in err.getvalue()
    return Ended(code, out.getvalue(), err.getvalue())


def in_a_shell(command: str) -> tuple[int, str]:
    """Exit code and output of a command in a shell that finds this Python and shoal."""
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    ended = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr
