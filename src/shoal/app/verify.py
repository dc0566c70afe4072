"""Runs experiments, several at a time, and compares what they measure with what they expect."""

from __future__ import annotations

import contextlib
import fnmatch
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from shoal.config.experiments import files, named
from shoal.errors import UsageError, brief, suggestion
from shoal.review.catalog import find, set_aside
from shoal.review.entries import Entry
from shoal.review.removal import Removal
from shoal.rundir import SweepDir, missed, read_sweep


@dataclass(frozen=True)
class Verdict:
    """What became of one experiment."""

    name: str
    outcomes: tuple[dict[str, Any], ...]
    """What was expected beside what was measured, as run.json has it."""
    path: str | None
    """The directory of the run or sweep."""
    problem: str | None = None
    """Why it could not be run, or did not end well."""
    text: str = ""
    """What it printed."""

    @property
    def holds(self) -> bool:
        """Whether it measured all that it expects."""
        return self.problem is None and bool(self.outcomes) and not missed(self.outcomes)

    @property
    def notes(self) -> list[str]:
        """What it said that it could not do here."""
        return [line.removeprefix("note: ") for line in self.text.splitlines() if line.startswith("note: ")]

    def plain(self) -> dict[str, Any]:
        """As lists, dictionaries and numbers, for JSON."""
        return asdict(self) | {"holds": self.holds}


def chosen(names: Sequence[str] = (), pattern: str | None = None) -> list[str]:
    """The experiments that are meant: all of them unless named, of those only what fits the pattern (`c*`).

    Raises:
        UsageError: where there is none of a name, or none fits.
    """
    known = files()
    wanted = [named(name, known) for name in names]
    for name, full in zip(names, wanted, strict=True):
        if full is None:
            raise UsageError(f"no experiment {name!r}", hint=suggestion(name, known))
    full_names = [name for name in wanted if name] or sorted(known, key=_order)
    found = [name for name in full_names if fnmatch.fnmatch(name, pattern or "*")]
    if not found:
        raise UsageError(f"no experiment fits {pattern!r}", hint=f"there are {', '.join(sorted(known, key=_order))}")
    return found


def verify(names: Sequence[str], *, outputs: Path, processes: int, told: Callable[[Verdict], None]) -> list[Verdict]:
    """Run these experiments below `outputs`, `told` of each as it ends; the verdicts in the order of the names.

    Sweeps, which have processes of their own, come after the others. What earlier calls left there of an experiment is
    removed once it has been run again. The folder is set aside: the newest run is the user's, not one of these.
    """
    with contextlib.suppress(OSError):  # where nothing can be written, each run says so
        set_aside(outputs)
    earlier = {entry.path for entry in _there(outputs)}
    single = [name for name in names if not is_sweep(name)]
    sweeps = [name for name in names if is_sweep(name)]
    found: dict[str, Verdict] = {}
    for verdict in _together(single, outputs, processes):
        found[verdict.name] = verdict
        told(verdict)
    for name in sweeps:
        found[name] = _swept(name, outputs, processes)
        told(found[name])
    there = _there(outputs)
    for name, verdict in found.items():
        asked = _asked(name, outputs, processes)
        own = [entry for entry in there if entry.info and entry.info.overrides == asked]
        new = [entry for entry in own if entry.path not in earlier]
        if new and verdict.path is None:  # it ended badly
            found[name] = replace(verdict, path=str(new[0].path))
        for entry in own if new else ():
            if entry not in new:
                with contextlib.suppress(UsageError):  # it is in use: another call verifies the same
                    Removal(entry, outputs).carry_out()
    return [found[name] for name in names]


def is_sweep(name: str) -> bool:
    """Whether an experiment is a sweep, to be run with -m: its file has parameters for a sweeper."""
    try:
        content = yaml.safe_load(files()[name].read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False  # running it tells what is wrong with the file
    for key in ("hydra", "sweeper", "params"):
        content = content.get(key) if isinstance(content, dict) else None
    return bool(content)


def one(name: str, outputs: Path) -> Verdict:
    """Run one experiment that is no sweep."""
    from shoal.app.start import start

    printed = io.StringIO()
    overrides = _asked(name, outputs, 1)
    try:
        with contextlib.redirect_stdout(printed):
            run, info = start(overrides, command=["train.py", *overrides])
    except (Exception, SystemExit) as error:
        return Verdict(name, (), None, brief(error), printed.getvalue())
    return Verdict(name, tuple(info.expected), str(run.path), _unasked(info.expected), printed.getvalue())


def _together(names: Sequence[str], outputs: Path, processes: int) -> Iterator[Verdict]:
    """Run experiments in worker processes; in this one where there is little to do."""
    n = min(processes, len(names) // 4)
    if n < 2:
        yield from (one(name, outputs) for name in names)
        return
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=n, env={"OMP_NUM_THREADS": "1"})
    try:
        futures = [(name, executor.submit(one, name, outputs)) for name in names]
        for name, future in futures:
            try:
                yield future.result()
            except Exception as error:  # its process is gone, and loky says of every one that was left that it is
                yield Verdict(name, (), None, f"its process ended: {brief(error)}")
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _swept(name: str, outputs: Path, processes: int) -> Verdict:
    from shoal.app.multirun.sweep_command import sweep

    printed = io.StringIO()
    before = set(outputs.glob("*/*/sweep.json"))
    overrides = _asked(name, outputs, processes)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            sweep(overrides)
        (path,) = {file.parent for file in set(outputs.glob("*/*/sweep.json")) - before}
        info = read_sweep(SweepDir(path).info)
    # What ends one experiment must not end those after it.
    except (Exception, SystemExit) as error:
        return Verdict(name, (), None, brief(error), printed.getvalue())
    bad = [job for job in info.jobs if job.status != "completed"]
    reason = next((f": {job.reason}" for job in bad if job.reason), "")
    problem = f"{len(bad)} of {len(info.jobs)} runs did not complete{reason}" if bad else _unasked(info.expected)
    return Verdict(name, tuple(info.expected), str(path), problem, printed.getvalue())


def _there(outputs: Path) -> list[Entry]:
    """The runs and sweeps below a folder, the newest first."""
    return find([outputs]) if outputs.is_dir() else []


def _asked(name: str, outputs: Path, processes: int) -> list[str]:
    """The overrides of a run or a sweep that is made here, by which it is known again."""
    how = f"sweep.processes={processes}" if is_sweep(name) else "callbacks=quiet"
    return [f"experiment={name}", f"outputs={outputs}", how]


def _unasked(outcomes: Sequence[dict[str, Any]]) -> str | None:
    return None if outcomes else "expects nothing: its file has no expect block"


def _order(name: str) -> tuple[bool, str, int, str]:
    """The place of an experiment in the list: a2 comes before a10, and both come before those that only have a name."""
    number = name[1:].split("_")[0]
    return not number.isdigit(), name[:1], int(number) if number.isdigit() else 0, name
