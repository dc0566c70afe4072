"""The `shoal` command. What a command needs is imported when it runs: `shoal --help` stays light."""

from __future__ import annotations

import atexit
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from shoal.cli.boundary import asks_for_traceback, debugging, tell
from shoal.errors import ExitCode, UsageError, nearest
from shoal.machine import installed
from shoal.startup import defer, keep_what_is_imported
from shoal.startup.leaving import leave
from shoal.streams import keep_standard_streams

if TYPE_CHECKING:
    import typer

NOT_ON_WINDOWS = "shoal does not run on Windows itself: use it in WSL, the Windows Subsystem for Linux"
_ELSEWHERE = {
    **dict.fromkeys(("list", "ls", "ps", "status", "history"), "runs"),
    **dict.fromkeys(("run", "start"), "train"),
    **dict.fromkeys(("sweep", "multirun", "search", "tune"), "train -m"),
    **dict.fromkeys(("continue", "restart"), "resume"),
    **dict.fromkeys(("rerun", "repeat"), "again"),
    **dict.fromkeys(("test", "evaluate", "validate"), "eval"),
    **dict.fromkeys(("infer", "inference"), "predict"),
    **dict.fromkeys(("tensorboard", "ui", "dashboard"), "board"),
    **dict.fromkeys(("delete", "remove"), "rm"),
    **dict.fromkeys(("clean", "gc"), "prune"),
    **dict.fromkeys(("init", "create"), "new"),
    **dict.fromkeys(("info", "view", "inspect"), "show"),
    **dict.fromkeys(("config", "cfg"), "train --cfg job"),
    **dict.fromkeys(("html",), "report"),
    **dict.fromkeys(("plot", "picture"), "figure"),
    "help": "--help",
    "version": "--version",
    "tasks": "train --help task",
    "models": "train --help model",
    "experiments": "train --help experiment",
}
"""What other programs call a command, and what it is called here."""
_COMMANDS = {
    "fitting": ("fit",),
    "training": ("train", "resume", "again", "find-lr"),
    "trained": ("eval", "predict", "export", "figure"),
    "verifying": ("verify", "gradcheck"),
    "reviewing": ("runs", "show", "compare", "diff"),
    "browsing": ("report", "board"),
    "removing": ("rm", "prune"),
    "starting": ("new", "schema"),
}
"""Modules of this package and the commands that they add to the app, in the order of the help."""


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    leave(run(sys.argv[1:]))


def train(words: Sequence[str] | None = None) -> int:
    """Run `python train.py`, which is `shoal train`, and give its exit code."""
    return run(["train", *(sys.argv[1:] if words is None else words)])


def run(words: Sequence[str]) -> int:
    """Run one command and give its exit code; nothing is raised."""
    if sys.platform == "win32":
        # Here, for what comes next asks the system for what Windows has not.
        return tell(UsageError(NOT_ON_WINDOWS), debug=False)
    # First of all: whatever is opened or said before it might take the place of a closed stream.
    keep_standard_streams()
    # Before any command imports torch: the deferred modules must not be there yet.
    defer(own_process=True)
    # For every command that imported much: the interpreter looks for garbage once more as it ends.
    atexit.register(keep_what_is_imported)
    try:
        return _done(list(words))
    except (Exception, KeyboardInterrupt) as error:
        return tell(error, debug=debugging(words))


def _done(words: list[str]) -> int:
    """Do what the words ask for; those behind `train` are Hydra's, and typer has no part in them."""
    # Past typer, which a training then need not import: Hydra's own parser reads these words.
    if words[:1] == ["train"]:
        from shoal.app.command import train

        return train(words[1:])
    if words == ["--version"]:
        print(f"shoal {installed('shoal')}")
        return ExitCode.OK
    # Any command takes the word, so no command declares it; typer would take it for an argument.
    return _by_typer([word for word in words if not asks_for_traceback(word)] or ["--help"])


def _by_typer(words: list[str]) -> int:
    import typer
    from typer.exceptions import Abort, Exit, TyperException

    try:
        # Not standalone: typer would print errors in its own way and end the process.
        result = typer.main.get_command(application(words[0]))(words, prog_name="shoal", standalone_mode=False)
    except TyperException as error:
        raise _usage(error) from error
    except Exit as end:
        # Not an error: it is how a command here gives an exit code, as do `--help` and completion.
        return end.exit_code
    # Typer's word for Ctrl-C, and for the end of the input, at a question.
    except Abort as end:
        raise KeyboardInterrupt from end
    # Typer ends by itself on Ctrl-C, and says nothing.
    if result == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    # Where typer is not standalone, it gives what the command's function gave, which is None of most.
    return result if isinstance(result, int) else ExitCode.OK


def application(command: str | None = None) -> typer.Typer:
    """The app with all its commands; with those of one module if that has the one asked for."""
    import typer

    app = typer.Typer(
        name="shoal",
        help="Experiments with small PyTorch models: one run or hundreds, from configuration.",
        # The help is plain text: rich need not be imported for it.
        rich_markup_mode=None,
        # The boundary tells errors; typer would install a hook of its own.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    # Without one, an app with a single command, such as `fit`, would be that command and take its name for an argument.
    app.callback()(_shoal)
    for module in [name for name, its_own in _COMMANDS.items() if command in its_own] or _COMMANDS:
        import_module(f"{__name__}.{module}").register(app)
    return app


def _shoal() -> None:
    """Experiments with small PyTorch models: one run or hundreds, from configuration."""


def _usage(error: Exception) -> UsageError:
    if found := re.match(r"No such command '([^']+)'", str(error)):
        return _no_such_command(found[1])
    said = error.format_message() if hasattr(error, "format_message") else str(error)
    # Pydantic, by which typer checks what is given, puts this before the words of a check.
    said = said.replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "shoal"
    option = re.match(r"No such option: --([\w.-]+)", said)
    # Who writes `--epochs 10` where a command takes settings is shown how a setting is written.
    settings = [each for each in context.command.params if "KEY=VALUE" in (each.metavar or "")] if context else []
    as_setting = f"settings are KEY=VALUE, {option[1]}=VALUE; " if option and settings else ""
    return UsageError(" ".join(said.split()).rstrip("."), hint=f"{as_setting}see: {command} --help")


def _no_such_command(word: str) -> UsageError:
    """The error for a command that is not there: what is called so elsewhere, or is spelled nearly so."""
    import typer

    # All modules are imported for it, as only a slip of the fingers needs.
    known = set(typer.main.get_command(application()).commands)  # type: ignore[attr-defined]
    meant = _ELSEWHERE.get(word) or nearest(word, known)
    # `shoal task=parabola` lacks the command only.
    if meant is None and "=" in word:
        meant = f"train {word}"
    hint = f"did you mean shoal {meant}? all commands: shoal --help" if meant else "all commands: shoal --help"
    return UsageError(f"there is no command {word}", hint=hint)
