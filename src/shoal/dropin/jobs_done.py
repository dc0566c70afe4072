"""Which jobs of a command are done, kept until all are: the same command then goes on where it was killed.

It lies in the user's cache folder, since the sweep's directory is to have the files that any launcher leaves there.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import io
import json
import logging
import os
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from omegaconf import OmegaConf

from shoal.dropin.hydra_program import HydraJob, HydraProgram
from shoal.errors import brief
from shoal.rundir.file_lock import locked
from shoal.step.cache import folder

log = logging.getLogger("hydra.shoal")

_FORGETS = "a command that is killed begins anew"
"""What it comes to where the jobs that are done can be kept in memory alone."""

_open: dict[str, JobsDone] = {}
"""By command: a sweeper may launch several times."""


class JobsDone:
    """The jobs of a sweep that have begun and that are done, written as they come."""

    def __init__(self, file: IO[str] | io.StringIO, program: HydraProgram) -> None:
        """`file` is locked, and may hold the ledger of a command that was killed."""
        self.file = file
        self.context = program.context
        """Of which there is one a sweep."""
        self.sweep_dir = ""
        self.begun: dict[int, dict[str, Any]] = {}
        self.done: dict[int, dict[str, Any]] = {}
        for entry in _entries(file):
            self._take(entry)
        # Who has removed the sweep's directory wants all of it again.
        if self.sweep_dir and not os.path.isdir(self.sweep_dir):
            self._forget()
        self.continues = bool(self.begun)
        """Whether there is something to go on with."""
        if self.continues:
            self._go_on(program)
        else:
            self.start(program)

    @classmethod
    def of(cls, program: HydraProgram, *, resume: bool) -> JobsDone:
        """That of the sweep that runs."""
        key = _key(program)
        # A process may sweep several times, as notebooks do: what one has done is not the next one's.
        if key in _open and _open[key].context is not program.context:
            _open[key].close()
        if key not in _open:
            file = _locked(key)
            if not resume:
                file.truncate(0)
            _open[key] = cls(file, program)
            atexit.register(_open[key].close)
        return _open[key]

    def start(self, program: HydraProgram) -> None:
        """Be the ledger of a new sweep."""
        self._forget()
        path = os.path.abspath(program.sweep_dir)
        times = base64.b64encode(pickle.dumps(OmegaConf.get_cache(program.config).get("now", {}))).decode()
        self._write({"sweep": path, "times": times})

    def returned(self, job: HydraJob) -> bytes | None:
        """What a job returned that is done, packed."""
        entry = self.done.get(job.number)
        return base64.b64decode(entry["returned"]) if entry else None

    def differs(self, jobs: list[HydraJob]) -> bool:
        """Whether one of these jobs is another than the one of its number that has begun."""
        return any(job.number in self.begun and self.begun[job.number]["job"] != list(job.overrides) for job in jobs)

    def clear(self, job: HydraJob) -> None:
        """Remove what a job has left that began and did not end: nobody else has written into its directory."""
        entry = self.begun.get(job.number)
        if entry is None or not entry["new"] or job.number in self.done:
            return
        others = [each["folder"] for number, each in self.begun.items() if number != job.number]
        path = entry["folder"]
        # A directory that holds another job's, or the sweep's, is not this job's to remove.
        if all(os.path.commonpath([path, each]) != path for each in [self.sweep_dir, *others]):
            shutil.rmtree(path, ignore_errors=True)

    def begins(self, job: HydraJob, path: Path) -> None:
        """A job is about to write into this directory."""
        self._write({"begun": job.number, "job": list(job.overrides), "folder": str(path), "new": not path.exists()})

    def ends(self, job: HydraJob, returned: bytes) -> None:
        """A job is done."""
        self._write({"done": job.number, "returned": base64.b64encode(returned).decode()})

    def keep(self) -> None:
        """Leave the ledger for the next command, in this process or another."""
        atexit.unregister(self.close)
        self.file.close()
        for key in [key for key, each in _open.items() if each is self]:
            del _open[key]

    def close(self) -> None:
        """Remove the ledger: its sweep is over."""
        if not isinstance(self.file, io.StringIO):
            with contextlib.suppress(OSError):
                os.unlink(self.file.name)
        self.keep()

    def _go_on(self, program: HydraProgram) -> None:
        """Let times in the configuration be those of the killed command, and so the sweep's directory."""
        fresh = program.sweep_dir
        cache = OmegaConf.get_cache(program.config)
        OmegaConf.set_cache(program.config, {**cache, "now": self._times})
        # Hydra's own sweeper has made the directory of a new sweep by now, with this one file in it; others make none.
        moved = os.path.abspath(program.sweep_dir) != os.path.abspath(fresh)
        if moved and fresh.is_dir() and os.listdir(fresh) == ["multirun.yaml"]:
            (fresh / "multirun.yaml").unlink()
            os.removedirs(fresh)

    def _take(self, entry: dict[str, Any]) -> None:
        if "sweep" in entry:
            self.sweep_dir = entry["sweep"]
            self._times = pickle.loads(base64.b64decode(entry["times"]))
        elif "begun" in entry:
            self.begun[entry["begun"]] = entry
        else:
            self.done[entry["done"]] = entry

    def _write(self, entry: dict[str, Any]) -> None:
        self._take(entry)
        self.file.write(json.dumps(entry) + "\n")
        # Out of this process: what the system has, a kill does not take away.
        self.file.flush()

    def _forget(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.begun, self.done = {}, {}


def _key(program: HydraProgram) -> str:
    """What makes two commands the same: the folder, the program and its configuration, times not resolved."""
    text = [os.getcwd(), os.path.abspath(sys.argv[0]), OmegaConf.to_yaml(program.config)]
    return hashlib.blake2b("\0".join(text).encode(), digest_size=16).hexdigest()


def _locked(key: str) -> IO[str] | io.StringIO:
    """The first file of a command that no other process has; one in memory where the user has no cache folder."""
    try:
        place = folder("sweeps")
        place.mkdir(parents=True, exist_ok=True)
        # The same command may run several times at once: each has a file of its own.
        for number in range(100):
            # Not `w`, which would empty the ledger before its lock is had.
            file = open(place / f"{key}-{number}.jsonl", "a+", encoding="utf-8")  # noqa: SIM115
            if locked(file, wait=False):
                return file
            file.close()
        log.warning("%s: a command like this one has all of its files", _FORGETS)
    except (OSError, RuntimeError) as error:
        log.warning("%s: %s", _FORGETS, brief(error))
    return io.StringIO()


def _entries(file: IO[str] | io.StringIO) -> Iterator[dict[str, Any]]:
    file.seek(0)
    text = file.read()
    if text and not text.endswith("\n"):
        file.write("\n")  # of a process that was killed the last line may be cut
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)
