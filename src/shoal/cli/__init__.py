"""The `shoal` command. What a command needs is imported when it runs: `shoal --help` stays light."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

import typer
from typer.exceptions import Abort, Exit, TyperException

from shoal.errors import ExitCode, ShoalError
from shoal.streams import keep_standard_streams

_COMMANDS = ("training", "checking", "review", "removing", "starting")
"""Modules of this package that add their commands to the app, in the order of the help."""


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    keep_standard_streams()
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command; the error boundary: what goes wrong is said in at most three lines on standard error."""
    try:
        result = typer.main.get_command(application())(words, prog_name="shoal", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except ShoalError as error:
        return _told(error.text(), error.exit_code)
    except TyperException as error:
        return _told(_usage(error), ExitCode.USAGE)
    except Exit as end:
        return end.exit_code
    except (Abort, KeyboardInterrupt):
        return _told("interrupted", ExitCode.INTERRUPTED)
    except Exception as error:
        problem = f"error: {type(error).__name__}: {error}"
        return _told(f"{problem}\n  this is a defect in shoal; SHOAL_DEBUG=1 shows where", ExitCode.FAILED)


def application() -> typer.Typer:
    """The app with all its commands."""
    app = typer.Typer(
        name="shoal",
        help="Experiments with small PyTorch models: one run or hundreds, from configuration.",
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_shoal)
    for name in _COMMANDS:
        if find_spec(f"{__name__}.{name}"):
            import_module(f"{__name__}.{name}").register(app)
    return app


def _shoal() -> None:
    """Experiments with small PyTorch models: one run or hundreds, from configuration."""


def _told(message: str, exit_code: int) -> int:
    from shoal.review.wording import printable

    if os.environ.get("SHOAL_DEBUG") == "1":
        traceback.print_exc()
    print("\n".join(printable(line) for line in message.splitlines()[:3]), file=sys.stderr)
    return exit_code


def _usage(error: TyperException) -> str:
    said = error.format_message() if hasattr(error, "format_message") else str(error)
    said = said.replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "shoal"
    return f"error: {' '.join(said.split()).rstrip('.')}\n  see: {command} --help"
