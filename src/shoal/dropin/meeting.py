"""Where the jobs of a process meet: those that wait for an epoch train it in stacks, each its own again afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoal.dropin.job_step import JobStep
from shoal.dropin.own_values import in_place
from shoal.dropin.routines import Routine
from shoal.dropin.stacked import Stacked
from shoal.dropin.untouched import Untouched
from shoal.dropin.waiting import LightningFit, Trained, Waiting
from shoal.dropin.when import Stacks
from shoal.dropin.worth import why_not
from shoal.engines.stack.allocator import keep_memory
from shoal.engines.stack.run_optimizer import UnfitError
from shoal.engines.vectorized.signature import difference
from shoal.engines.vectorized.size import Footprint
from shoal.errors import brief
from shoal.seeding import generators_restored
from shoal.step.unfit import CannotStackError

Answer = Trained | str
"""What an epoch came to, or why it has to be trained alone."""


@dataclass
class Meeting:
    """The stacks of a process."""

    processes: int
    when: Stacks
    stacks: list[_Party] = field(default_factory=list)

    def together(self, waiting: Sequence[Routine]) -> None:
        """Train what is waited for, and let everyone go on."""
        answers: dict[Routine, Answer] = {}
        self._regroup(waiting, answers)
        left, self.stacks = self.stacks, []
        while left:
            party = left.pop(0)
            left += party.train(waiting, answers)
            if party.routines:
                self.stacks.append(party)
        for routine in waiting:
            # Every job goes on, in a stack or alone: those that it could wait for may never come.
            routine.resume(answers.get(routine, "no other job can share its stack"))

    def _regroup(self, waiting: Sequence[Routine], answers: dict[Routine, Answer]) -> None:
        """Make stacks of the jobs that are in none."""
        # By their ids: a dataclass that is compared by its values cannot be hashed.
        known = {id(routine.waits_for.fit) for party in self.stacks for routine in party.waiting(waiting)}
        free = [routine for routine in waiting if id(routine.waits_for.fit) not in known]
        for group in _groups(free, answers):
            reason = why_not([routine.waits_for for routine in group], self.when)
            if reason:
                answers.update(dict.fromkeys(group, reason))
                continue
            # Not before the jobs' samples are fetched: of what that takes, nothing is needed again.
            keep_memory()
            for block in self._blocks(group):
                self.stacks += _parties(block, answers)

    def _blocks(self, group: list[Routine]) -> list[list[Routine]]:
        """The jobs of a group, in as many stacks as the processor's cache is good for."""
        job: Waiting = group[0].waits_for
        batch = job.batch(job.train, 0, next(iter(job.fit.own.weights)).dtype)
        module = job.fit.module
        try:
            with in_place(job.fit.resolved), Untouched([module]), generators_restored():
                step = JobStep(module, "train")
                most = max(2, Footprint.of(step, batch).most(processes=self.processes))
        except Exception:  # whatever its step does outside of a Trainer: that it cannot be stacked is told by the probe
            most = len(group)
        return [group[place : place + most] for place in range(0, len(group), most)]


def _groups(free: Sequence[Routine], answers: dict[Routine, Answer]) -> list[list[Routine]]:
    groups: list[list[Routine]] = []
    for routine in free:
        mine: Waiting = routine.waits_for
        reason = "no other job trains beside it"
        for group in groups:
            other: Waiting = group[0].waits_for
            unlike = difference(other.fit.alike, mine.fit.alike)
            if unlike is None and _time(other) == _time(mine):
                group.append(routine)
                break
            reason = unlike or "it is at another epoch"
        else:
            groups.append([routine])
            answers[routine] = reason
    return [group for group in groups if len(group) > 1]


def _time(job: Waiting) -> tuple[int, int, int]:
    return job.epoch, job.step, job.stepped


def _parties(block: list[Routine], answers: dict[Routine, Answer]) -> list[_Party]:
    """Stacks of these jobs, without those that would not train in one as they do alone."""
    # Once more without those that differ: the stack is made of all its jobs, and so are its programs.
    while len(block) > 1:
        try:
            stacked = Stacked([routine.waits_for for routine in block])
            unlike = stacked.unlike({row: routine.waits_for for row, routine in enumerate(block)})
        except (UnfitError, CannotStackError) as error:
            unlike = dict.fromkeys(range(len(block)), str(error))
        except Exception as error:  # what a program of anybody's does is not to be foreseen
            unlike = dict.fromkeys(range(len(block)), brief(error))
        else:
            if stacked.read:
                return _apart(block, stacked.read, answers)
        if not unlike:
            return [_Party(stacked, dict(enumerate(block)))]
        answers.update({block[row]: reason for row, reason in unlike.items()})
        block = [routine for row, routine in enumerate(block) if row not in unlike]
    return []


def _apart(block: list[Routine], read: Mapping[str, Sequence[Any]], answers: dict[Routine, Answer]) -> list[_Party]:
    """Stacks of those of these jobs that agree in what their steps read; `read` has the values of each by its path."""
    for number, routine in enumerate(block):
        fit: LightningFit = routine.waits_for.fit
        fit.alike = {**fit.alike, **{f"self.{path}": values[number] for path, values in read.items()}}
        # Whatever another stack has of them is not in the new one.
        fit.versions = None
    groups = _groups(block, answers)
    told = "a step reads " + ", ".join(f"self.{path}" for path in read) + ", and no other job has the same there"
    answers.update({routine: told for routine in block if not any(routine in group for group in groups)})
    return [party for group in groups for party in _parties(group, answers)]


@dataclass
class _Party:
    """A stack and its jobs, by row."""

    stacked: Stacked
    routines: dict[int, Routine]

    def waiting(self, waiting: Sequence[Routine]) -> list[Routine]:
        """Those that wait for an epoch of the training that they are in it with."""
        fits = [self.stacked.fits[member] for member in self.stacked.rows]
        present = set(map(id, waiting))
        self.routines = {
            row: routine
            for row, routine in self.routines.items()
            if id(routine) in present and routine.waits_for.fit is fits[row]
        }
        return list(self.routines.values())

    def train(self, waiting: Sequence[Routine], answers: dict[Routine, Answer]) -> list[_Party]:
        """An epoch of those that are left; the stacks that are to train it where these must not share one any more."""
        self.waiting(waiting)
        if not self.routines:
            return []
        if self.stacked.shrink(list(self.routines)):
            self.routines = dict(enumerate(self.routines.values()))
        jobs: dict[int, Waiting] = {row: routine.waits_for for row, routine in self.routines.items()}
        # The stack steps the jobs' schedulers as it goes: a job that has to train alone needs them as they were.
        schedules = {row: job.fit.own.state_dict() for row, job in jobs.items() if job.fit.own.changes_by_step}
        try:
            found: dict[int, Any] = dict(self._looked_at(jobs))
            left = {row: job for row, job in jobs.items() if row not in found}
            found |= self.stacked.epoch(left) if left else {}
        except Exception as error:  # likewise; nothing of the jobs' own has changed
            found = dict.fromkeys(jobs, brief(error))
        differs = bool(self.stacked.read)
        for row, answer in found.items():
            if row in schedules and (differs or isinstance(answer, str)):
                jobs[row].fit.own.load_state_dict(schedules[row])
        if differs:
            return self._parted(answers)
        self._tell_of_validation()
        for row, answer in found.items():
            answers[self.routines[row]] = answer
            if isinstance(answer, str):
                del self.routines[row]
        return []

    def _parted(self, answers: dict[Routine, Answer]) -> list[_Party]:
        """Stacks of those that agree in what their steps read, which this one is not for."""
        members = {row: self.stacked.rows[row] for row in self.routines}
        read = {path: [values[member] for member in members.values()] for path, values in self.stacked.read.items()}
        block, self.routines = list(self.routines.values()), {}
        return _apart(block, read, answers)

    def _tell_of_validation(self) -> None:
        if self.stacked.why_not_validated:
            for routine in self.routines.values():
                routine.notes.append(f"validates alone: {self.stacked.why_not_validated}")
            self.stacked.why_not_validated = ""

    def _looked_at(self, jobs: dict[int, Waiting]) -> dict[int, str]:
        """Why jobs do not fit the stack any more, by row; those are asked whose modules look otherwise by now."""
        changed = [row for row, job in jobs.items() if job.changed]
        return self.stacked.unlike(jobs, rows=changed) if changed else {}
