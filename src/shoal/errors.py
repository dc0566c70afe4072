"""The errors a user can meet, and how they are worded: at most three lines, each of them useful."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

_LONG = 8
"""Letters at most of a number in a short text."""


class ExitCode(IntEnum):
    """What the process returns to the shell."""

    OK = 0
    FAILED = 1
    """A run failed, diverged or missed what its experiment expects."""
    USAGE = 2
    """The configuration or the command is wrong; nothing was trained."""
    INTERRUPTED = 130
    TERMINATED = 143


NO_SUCH_SETTING = "no such setting"
"""The problem of a name that its node does not know."""


class ShoalError(Exception):
    """An error with a message for the user; `exit_code` is what the process returns."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(self.text())

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return self.text().splitlines()

    def text(self) -> str:
        """The message: the problem, and on a second line the way out."""
        lines = [f"error: {self.problem}"]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class ConfigError(ShoalError):
    """A setting is wrong: `key` has `value`, which came from `source`, and `problem` says what is allowed.

    `ConfigError("task.batch_size", 256, "is larger than the 128 training samples", hint="lower it")` reads
    `error: task.batch_size=256: is larger than the 128 training samples`.
    """

    exit_code = ExitCode.USAGE

    def __init__(
        self, key: str, value: object, problem: str, *, hint: str | None = None, source: str | None = None
    ) -> None:
        self.key = key
        self.value = value
        self.source = source
        super().__init__(problem, hint=hint)

    def text(self) -> str:
        where = f" ({self.source})" if self.source else ""
        lines = [f"error: {_on_one_line(f'{self.key}={shown(self.value)}')}{where}: {self.problem}"]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def at(self, *, key: str | None = None, source: str | None = None, hint: str | None = None) -> ConfigError:
        """The same error with its place, or a better hint, filled in by a caller who knows it."""
        source, hint = source or self.source, hint or self.hint
        return ConfigError(key or self.key, self.value, self.problem, hint=hint, source=source)


@contextmanager
def from_source(source: str) -> Iterator[None]:
    """Say of every configuration error where its value came from, where nothing has said so before."""
    try:
        yield
    except ConfigError as error:
        raise error.at(source=error.source or source) from error


class UsageError(ShoalError):
    """The command is wrong: an unknown run, a missing file, a refused request."""

    exit_code = ExitCode.USAGE


class Caution(UserWarning):
    """What whoever predicts should know before the predictions are believed."""


class DamagedError(ShoalError):
    """A file of a run does not hold what was written: its digest differs, or it is cut short."""


@contextmanager
def exits_told() -> Iterator[None]:
    """Say so where code of a user's ends the program: it would end without a word, and with any exit code.

    Raises:
        ShoalError: in place of SystemExit.
    """
    try:
        yield
    except SystemExit as error:
        hint = "raise an error there; what is to end a training sooner: self.trainer.should_stop = True"
        raise ShoalError(f"{raised_at(error)} ends the program: {brief(error)}", hint=hint) from error


def warn(text: str) -> None:
    """Say something that the user must know, in the log and on the terminal."""
    # Both: who watches a run does not read its log, and of one that nobody watched the log is all there is.
    logging.getLogger("shoal").warning("%s", text)
    print(f"warning: {text}", file=sys.stderr)


def brief(error: BaseException) -> str:
    """What went wrong, on one line: a setting keeps its key and value, any other error its class."""
    if isinstance(error, ShoalError):
        return error.text().removeprefix("error: ").splitlines()[0]
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, for a sentence that says what it is about; else its class."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def shown(value: object, *, brief: bool = False) -> str:
    """A configuration value as one would type it on the command line; brief, a long number with six digits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(shown(item, brief=brief) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(item, brief=brief)}" for key, item in value.items()) + "}"
    text = str(value)
    return f"{value:.6g}" if brief and isinstance(value, float) and len(text) > _LONG else text


def _on_one_line(text: str, limit: int = 200) -> str:
    """The text, cut where it is too long to read, without what would break the line or steer the terminal."""
    # A value comes from a file or a command line: an escape sequence in it would reach the terminal.
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def raised_at(error: BaseException) -> str:
    """File and line where an exception was raised: in the user's own code, where that is on the way."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = ("site-packages", str(Path(__file__).parent), f"{Path(traceback.__file__).parent}/", "<")
    own = [frame for frame in frames if not any(name in frame.filename for name in libraries)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The valid name most like `name`, or None where nothing is close."""
    # Late: only who has mistyped something needs it.
    from rapidfuzz import fuzz, process
    from rapidfuzz.distance import OSA

    choices = list(choices)
    if written_otherwise := next((each for each in choices if each.casefold() == name.casefold()), None):
        return written_otherwise
    found = process.extract(name, choices, scorer=fuzz.ratio, score_cutoff=60, limit=None)
    # Of names as near as each other, the one that differs by letters in the wrong order.
    best = max(found, key=lambda each: (each[1], OSA.normalized_similarity(name, each[0])), default=None)
    return str(best[0]) if best else None


def suggestion(name: str, choices: Iterable[str], *, kind: str = "available") -> str:
    """`did you mean parabola? available: csv, parabola, sin_x2`, for the hint of an error."""
    choices = sorted(choices)
    guess = nearest(name, choices)
    meant = f"did you mean {guess}? " if guess else ""
    return f"{meant}{kind}: {', '.join(choices)}"
