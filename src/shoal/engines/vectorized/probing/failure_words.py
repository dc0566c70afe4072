"""A failure of a step in a stack in words: what it does that cannot be mapped, where, and what to write instead."""

from __future__ import annotations

import inspect
import linecache
import logging
import re
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl

from shoal.engines.vectorized.probing.torch_refusals import Refusal, refusal
from shoal.errors import brief
from shoal.step.captured import CapturedStep
from shoal.step.unfit import CannotStackError, sentence

log = logging.getLogger(__name__)

# Without models, tasks and losses: in a step of shoal's own the line that fails is one of theirs.
_LIBRARIES = (
    "/site-packages/",
    *(f"/shoal/{name}/" for name in ("engines", "step", "sweeps", "record", "build", "dropin")),
    f"{Path(inspect.__file__).parent}/",
)
_UPSTREAM = tuple(
    f"/site-packages/{name}/"
    for name in ("torch", "torchmetrics", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities")
)
"""What a step is written with, and never where it goes wrong."""
_MAPPING = "/shoal/step/mapped.py"
"""The file through which all goes that is done for the runs of a stack at once."""
WITHOUT = "without that error its runs stack"
"""What to write instead of what fails by itself."""
_SHOWN = 60
"""Letters of the user's own code that are shown at most."""


def reason(error: BaseException, module: pl.LightningModule, step: CapturedStep | None = None) -> str:
    """A sentence: what a step does that cannot be mapped, where, and what to write instead.

    It is that of training unless a step is given.
    """
    frame, whose = _innermost(error), step.name if step else "training_step"
    line = _Line.of(frame) if frame else None
    if isinstance(error, CannotStackError):
        where = str(line) if line else "" if error.within else place_of(module, step)
        whose = error.within or whose
        return f"{whose} ({where}) {error}" if where else f"{whose} {error}"
    where = f"{line}," if line and line.code else str(line or f"{whose} ({place_of(module, step)})")
    found = refusal(str(error), line.code if line else "", line.whole if line else "")
    if found is None and not _passes(error, _MAPPING):
        # A run that trains alone comes upon it again.
        return failure(error, where)
    log.debug("a step cannot be mapped: %s", error)
    does, instead = found or Refusal(
        "does what torch can do for one run, and not for several at once", "written with other functions it may stack"
    )
    return sentence(f"{where} {does}", instead)


def failure(error: BaseException, where: str | None = None) -> str:
    """A sentence: what has failed by itself, which its error says, and where; in the user's own code unless given."""
    frame = _innermost(error)
    where = where or (f"{_Line.of(frame)}," if frame else "a stack")
    return sentence(f"{where} raises {one_line(error)}", WITHOUT)


def _passes(error: BaseException, file: str) -> bool:
    return any(file in each.filename for each in traceback.extract_tb(error.__traceback__))


def one_line(error: BaseException) -> str:
    """What an error says on one line, without the period that would end the sentence."""
    return re.sub(r"[.:\s]+$", "", brief(error))


def _innermost(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame in the user's own code; of a module from a package, the innermost in that package."""
    # Code that was made while the program runs, as by torch.fx, has a name in brackets and no file to look into.
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    own = [each for each in frames if not any(name in each.filename for name in _LIBRARIES)]
    packaged = [
        each
        for each in frames
        if _LIBRARIES[0] in each.filename and not any(name in each.filename for name in _UPSTREAM)
    ]
    return next(reversed(own or packaged), None)


class _Line(NamedTuple):
    """A line of the user's own code."""

    place: str
    code: str
    """What of it was computed, where Python knows that; else all of it."""
    whole: str

    @classmethod
    def of(cls, frame: traceback.FrameSummary) -> _Line:
        line = linecache.getline(frame.filename, frame.lineno or 0)
        begin, end = frame.colno, frame.end_colno
        one = frame.end_lineno == frame.lineno and begin is not None
        # Python counts bytes.
        part = line.encode()[begin:end].decode(errors="replace") if one else line
        return cls(f"{Path(frame.filename).name}:{frame.lineno}", part.strip(), line.strip())

    def __str__(self) -> str:
        code = self.code if len(self.code) <= _SHOWN else f"{self.code[: _SHOWN - 3]}..."
        return f"{self.place}, `{code}`" if code else self.place


def of_mapping(error: BaseException) -> bool:
    """Whether the error comes from mapping the step over a stack, so that every run of it would fail alike."""
    # Torch has no class for these errors: they are known by their words alone.
    return isinstance(error, CannotStackError) or "vmap" in str(error) or "functorch" in str(error)


def place_of(module: pl.LightningModule, step: CapturedStep | None) -> str:
    """File and line of a module's step; that of training unless it is given, and the class where it has no file."""
    return place(type(module), step.name if step else "training_step")


def place(kind: Any, name: str) -> str:
    """File and line of a function of a class; the class where it has no file."""
    return _place(kind, name)


@lru_cache  # each run of a stack asks for it, and its source would be read again for each
def _place(kind: Any, name: str) -> str:
    function = inspect.unwrap(getattr(kind, name))
    try:
        _, line = inspect.getsourcelines(function)
        return f"{Path(inspect.getfile(function)).name}:{line}"
    except (OSError, TypeError):  # a class that was typed into an interpreter has no source
        return str(kind.__name__)
