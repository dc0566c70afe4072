"""Training the blocks of a sweep: whatever happens to one of them, every job is accounted for."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import FrameType

from shoal.errors import DamagedError, ShoalError, shown
from shoal.review.wording import counted
from shoal.rundir import RunInfo, Status, read_info, write_info
from shoal.signals import listening
from shoal.sweeps.block import (
    Advanced,
    Assignment,
    Block,
    Broken,
    Inexact,
    Noted,
    RunEnded,
    Unequipped,
    Unstacked,
)
from shoal.sweeps.executor import Executor, Happening, Lost
from shoal.sweeps.leases import Leases
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.serving import Finished, Preempted
from shoal.sweeps.summary import spans
from shoal.sweeps.sweep_progress import SweepProgress

BAD = (Status.FAILED, Status.DIVERGED)
FINAL = (Status.COMPLETED, *BAD)
TRIES = 4
"""How often a run is lost with a worker elsewhere until it is held to be its own fault: machines fail, too."""
MOST_TOLD = 10
"""Runs that failed or diverged that have a line each as it happens."""


class Execution:
    """The training of one sweep."""

    def __init__(
        self,
        executor: Executor,
        ledger: Ledger,
        progress: SweepProgress,
        *,
        begin: Callable[[Block], None],
        ended: Callable[[int, RunInfo], None] = lambda number, info: None,
        fail_fast: bool = False,
        leases: Leases | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """`meanwhile` is called once the first block has told how far it is: there is time then for what can wait."""
        self.executor = executor
        self.ledger = ledger
        self.progress = progress
        self.begin = begin
        self.ended = ended
        self.fail_fast = fail_fast
        self.meanwhile: Callable[[], None] | None = meanwhile
        self.leases = leases
        """Of workers that may live on where they are taken for lost."""
        self.received: int | None = None
        self.stopping = False
        self.results: dict[int, RunInfo] = {}
        self._queue: deque[Block] = deque()
        self._n_bad = 0
        self._noted: set[str] = set()
        self._losses: Counter[int] = Counter()
        """How often a run was lost with its worker."""
        self._in_training: list[Block] = []
        self._apart_groups: set[str] = set()
        """Groups of which it is told already that they train alone."""
        self._told: set[str] = set()
        """For what stacks have been begun again: one of a single run comes to the same."""

    def run(self, blocks: Sequence[Block]) -> None:
        """Train the blocks; `results` has what became of each run that was begun."""
        self._queue.extend(blocks)
        self.progress.expect(blocks)
        with listening(self._receive):
            for happening in self.executor.run(self._take, self._advanced, lambda: len(self._queue)):
                self._account(happening)
        # Workers that were given up may live on: from here on nothing counts that they write.
        if self.leases:
            self.leases.revoke_all()
        for number, job in self.ledger.jobs.items():
            if job.status is Status.RUNNING:
                self.ledger.update(number, Status.INTERRUPTED, "stopped at once: it goes on from its last checkpoint")

    def _advanced(self, block: Block, event: Advanced) -> None:
        self.progress.advanced(block, event)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()

    def _take(self) -> Block | None:
        """The next block, ready to be trained."""
        if not self._queue:
            return None
        block = self._queue.popleft()
        self._in_training.append(block)
        self.begin(block)
        for assignment in block.assignments:
            if not assignment.finished:
                self.ledger.update(assignment.number, Status.RUNNING)
        if self.leases:
            block = self.leases.granted(block)
            # Progress tells blocks apart as objects, and the one with a lease is another.
            self.progress.expect([block])
        return block

    def _account(self, happening: Happening) -> None:
        match happening:
            case block, RunEnded(number, info):
                self._ended(number, info)
            case block, Unstacked(reasons):
                self._apart(block, reasons)
            case block, Inexact(reason):
                self._by_themselves(block, reason)
            case block, Broken(reason, everyones):
                self._broken(block, reason, everyones=everyones)
            case block, Unequipped():
                self._given_back(block)
            case _, Noted(warning):
                self._note(warning)
            case block, Lost(reason):
                self._over(block, lost=True)
                self._lost(block, reason)
            case block, Preempted(reason):
                self._over(block)
                self._preempted(block, reason)
            case block, Finished():
                self._over(block)

    def _over(self, block: Block, *, lost: bool = False) -> None:
        """This start of a block has ended: nothing more is heard of it."""
        self.progress.finished(block)
        if self.leases:
            (self.leases.revoked if lost else self.leases.ended)(block)

    def _ended(self, number: int, info: RunInfo) -> None:
        if number in self.results:  # a stack that fails tells of its runs once, and its process of all it was given
            return
        # What all run.json of a sweep have in common is kept once: there may be a hundred thousand of them.
        info = self.results[number] = info.sharing(next(iter(self.results.values()), info))
        self.ledger.update(number, info.status, info.reason)
        if info.status in BAD:
            self._tell(number, info)
            if self.fail_fast:
                self.stopping = True
                self.executor.stop(signal.SIGTERM)
        self.progress.run_ended(number, info)
        self.ended(number, info)

    def _tell(self, number: int, info: RunInfo) -> None:
        """Say at once what became of a run that is lost; of very many only that there are more."""
        self._n_bad += 1
        if self._n_bad <= MOST_TOLD:
            at = " ".join(f"{name}={shown(value, brief=True)}" for name, value in info.differs.items())
            self.progress.tell(f"{info.status}  job {number}  {at}  {info.reason}")
        elif self._n_bad == MOST_TOLD + 1:
            self.progress.tell("and more: they are counted as they come, and told with their reasons at the end")

    def _note(self, warning: str) -> None:
        """Pass a warning on, the same one once; of very many only that there are more."""
        if warning in self._noted:
            return
        self._noted.add(warning)
        if len(self._noted) <= MOST_TOLD:
            self.progress.tell(f"warning  {warning}")
        elif len(self._noted) == MOST_TOLD + 1:
            self.progress.tell("and more warnings: each stands in the train.log of its run")

    def _apart(self, block: Block, reasons: Mapping[int, str]) -> None:
        """Train the runs of a block that cannot share it alone, and the others together."""
        for number in reasons:
            self.ledger.place(number, None)
        for reason in dict.fromkeys(reasons.values()):
            numbers = [number for number, each in reasons.items() if each == reason]
            if len(numbers) == len(self._left(block)) and block.group is not None:
                numbers = self._whole_group(block.group, numbers)
            if numbers and reason not in self._told:
                self.progress.tell(f"alone  {'job' if len(numbers) == 1 else 'jobs'} {spans(numbers)}: {reason}")
        together = tuple(assignment for assignment in block.assignments if assignment.number not in reasons)
        alone = [Block((assignment,)) for assignment in block.assignments if assignment.number in reasons]
        again = [*alone, *([replace(block, assignments=together)] if together else [])]
        self.progress.expect(again)
        # In front, since these had begun; extendleft turns their order round, so that the stack comes first.
        self._queue.extendleft(again)

    def _whole_group(self, group: str, numbers: list[int]) -> list[int]:
        """Let what keeps a whole block from stacking hold for its group; the jobs of which the user is told."""
        if group in self._apart_groups:
            return []
        self._apart_groups.add(group)
        # Each of these would come to the same, after another probe.
        waiting = [each for each in self._queue if each.group == group]
        for each in waiting:
            self._queue.remove(each)
            left = self._left(each)
            for assignment in left:
                self.ledger.place(assignment.number, None)
            again = [Block((assignment,)) for assignment in left]
            self.progress.expect(again)
            self._queue.extend(again)
        told = [each for each in [*waiting, *self._in_training] if each.group == group]
        return sorted({*numbers, *(each.number for block in told for each in self._left(block))})

    def _by_themselves(self, block: Block, reason: str) -> None:
        """Train each run of a block in a stack of its own, and let it say why."""
        left = self._left(block)
        compared = "; sweep.halving compares none of them" if block.halving else ""
        self.progress.tell(f"{counted(len(left), 'run')}, each by itself: {reason}{compared}")
        note = f"trained by itself: {reason}"
        for each in left:
            self.ledger.place(each.number, None)
        noted = [replace(each, info=replace(each.info, exactness=[note])) for each in left]
        # What is saved is of all of them together, and one by itself has none to be compared with.
        again = [replace(block, assignments=(each,), state=None, halving=None) for each in noted]
        self.progress.expect(again)
        self._queue.extend(again)

    def _broken(self, block: Block, reason: str, *, everyones: bool) -> None:
        """Try each run of a broken stack by itself; without a stack, where stacking itself was at fault."""
        left = self._left(block)
        if self.stopping or not (everyones or len(block.assignments) == 1):
            self._lost(block, reason)
            return
        self._apart(replace(block, assignments=tuple(left)), dict.fromkeys((each.number for each in left), reason))

    def _left(self, block: Block) -> list[Assignment]:
        """The runs of a block that have not come to their end."""
        return [each for each in block.assignments if each.number not in self.results and not each.finished]

    def _preempted(self, block: Block, reason: str) -> None:
        """Let another worker go on with a block that was saved; where the sweep stops, it stays as it is."""
        left = self._left(block)
        if self.stopping:
            for assignment in left:
                self._ended(assignment.number, self._recorded(assignment, Status.INTERRUPTED, reason))
            return
        self.progress.tell(f"{counted(len(left), 'run')} saved, to go on with another worker: {reason}")
        again = replace(block, assignments=tuple(map(self._resumed, block.assignments)))
        self.progress.expect([again])
        self._queue.appendleft(again)

    def _given_back(self, block: Block) -> None:
        """Let another worker have a block that was not begun."""
        self._over(block)
        for each in self._left(block):
            self.ledger.update(each.number, Status.INTERRUPTED if each.resume else None)
        self.ledger.write()  # there may be no other worker, which ends the sweep
        self.progress.expect([block])
        self._queue.appendleft(block)

    def _resumed(self, assignment: Assignment) -> Assignment:
        """The run as it goes on; one that has ended keeps the others of its stack company."""
        if assignment.finished or assignment.number in self.results:
            return replace(assignment, info=self.results.get(assignment.number, assignment.info), finished=True)
        info = self._written(assignment)
        if info is not None:  # there is none where it had not begun
            return replace(
                assignment, info=replace(info, sessions=info.sessions + 1, status=Status.RUNNING), resume=True
            )
        return assignment

    def _lost(self, block: Block, reason: str) -> None:
        """Try each run by itself, of a stack that broke or whose process died: nobody knows which run it was."""
        # A worker may die between the run.json of a run that has ended and the word that it has.
        for each in self._left(block):
            info = self._written(each)
            if info and info.status in FINAL and info.ended:  # it did not live to say so
                self._ended(each.number, info)
        left = self._left(block)
        self._losses.update(each.number for each in left)
        if self.stopping:
            for assignment in left:
                self._ended(assignment.number, self._recorded(assignment, Status.INTERRUPTED, reason))
        elif len(block.assignments) > 1:
            self._told.add(reason)
            self.progress.tell(f"{counted(len(left), 'run')} to start again, each by itself: {reason}")
            for assignment in left:
                self.ledger.place(assignment.number, None)
            again = [replace(block, assignments=(assignment,), state=None) for assignment in left]
            self.progress.expect(again)
            self._queue.extend(again)
        elif left and self.leases and self._losses[left[0].number] < TRIES:
            self.progress.tell(f"1 run to go on with another worker: {reason}")
            # A stack goes on from its own state where there is one; a run alone must be told that it resumes.
            going = replace(block, assignments=(left[0] if block.stacked else self._resumed(left[0]),))
            self.progress.expect([going])
            self._queue.append(going)
        else:
            for assignment in left:
                self._ended(assignment.number, self._recorded(assignment, Status.FAILED, reason))

    def _recorded(self, assignment: Assignment, status: Status, reason: str) -> RunInfo:
        """Write the run.json that a process did not live to write."""
        info = replace(self._written(assignment) or assignment.info, status=status, reason=reason)
        with contextlib.suppress(ShoalError):
            write_info(assignment.run.info, info)
        return info

    def _written(self, assignment: Assignment) -> RunInfo | None:
        """What this start of the run wrote into run.json; None where it did not, whatever another one may have."""
        with contextlib.suppress(DamagedError):
            info = read_info(assignment.run.info)
            mine = (assignment.info.start, assignment.info.sessions)
            return info if (info.start, info.sessions) == mine else None
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """The first signal lets what is in training save and stop, the second one stops it at once."""
        if self.received is None:
            self.received = number
            self.stopping = True
            self.executor.stop(number)
        else:
            self.executor.kill()
