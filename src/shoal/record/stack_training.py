"""Trains a stack of jobs into their run directories, each of which ends up as if its run had trained alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from shoal import machine
from shoal.engines.lightning import expected_warnings
from shoal.engines.position import Position
from shoal.engines.stack.halving import Halving
from shoal.engines.stack.run_optimizer import UnfitError
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import of_mapping, reason
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.steps import Steps
from shoal.engines.vectorized.timing import slower
from shoal.errors import brief
from shoal.record import environment
from shoal.record.checkpoints.checkpoint import Checkpoint, checkpoint_of
from shoal.record.computing import tell_of_others
from shoal.record.endings import status_of
from shoal.record.interruption import Interruption
from shoal.record.loggers.run_logger import RunLogger
from shoal.record.loggers.scalars import encoded
from shoal.record.run_of_stack import StackRun, Track
from shoal.record.stack_faults import UnfitRunsError, UnmappedError, may_be_one_runs_fault
from shoal.record.stack_state import StackState
from shoal.rundir import RunInfo, Status, claim
from shoal.rundir.atomic import together
from shoal.step.exact.guard import InexactError

log = logging.getLogger("shoal")


Advanced = Callable[[float, float | None], None]
"""Told the share of the training that is done, and the best monitored value."""
Finished = Callable[[int, RunInfo], None]
"""Told the place of a run that has come to its end, and what its run.json says."""


def train_stack(
    runs: Sequence[StackRun],
    *,
    state: Path | None,
    advanced: Advanced,
    ended: Finished,
    steps: Steps | None = None,
    halving: Halving | None = None,
    exact: bool = True,
) -> Steps:
    """Train the runs as one stack; `state` is where all of it is kept meanwhile, and taken from if it is there.

    `steps` are what this returned for another stack of such runs: their steps as they were traced. If not `exact`,
    runs train together that get other bits than alone, and their run.json says so.

    Raises:
        UnfitRunsError: where the probe finds runs that would train differently alone.
        InexactError: where each run would train as it does alone but for rounding.
        UsageError: where another process trains one of them.
        Interrupted, UnwritableError: after it is recorded for all runs that had not ended.
        UnmappedError: where a step does what no stack can follow, after the probe has not seen it.
        What a job raised: each run is to be tried by itself, or alone where it was; nothing of it is recorded.
    """
    interruption = Interruption()
    machine.allow_open_files(len(runs) + 64)  # each run of a stack has its lock
    with ExitStack() as claims, interruption.listening():
        for each in runs:
            claims.enter_context(claim(each.run))
        session = _Session(runs, state, interruption, advanced, ended, steps, halving, exact)
        session.train()
    return session.running.steps


class _Session:
    """One process at work on one stack."""

    def __init__(
        self,
        runs: Sequence[StackRun],
        state: Path | None,
        interruption: Interruption,
        advanced: Advanced,
        ended: Finished,
        steps: Steps | None,
        halving: Halving | None,
        exact: bool,
    ) -> None:
        self.state = StackState(state, [each.run.path.name for each in runs])
        self.interruption = interruption
        self.advanced = advanced
        self.ended = ended
        self.checkpoints = [checkpoint_of(each.job) for each in runs]
        try:
            self.running = Running(_members(runs, self.checkpoints), steps, halving=halving)
        except UnfitError as error:
            raise UnfitRunsError(dict.fromkeys(range(len(runs)), str(error))) from None
        saved = self.state.read()
        if saved is not None:
            self.running.load_state_dict(saved["running"])
            tell_of_others(runs[0].info)
        # Before the tracks: what is refused up to here has left nothing in any run's directory.
        self._look(begins=saved is None, exact=exact, compares=halving is not None)
        files = saved["files"] if saved else {}
        bests = saved["bests"] if saved else {}
        versions = environment.versions()
        with together():
            self.tracks = [
                None if each.finished else Track(place, each, files.get(place), bests.get(place), versions)
                for place, each in enumerate(runs)
            ]
        for track, member in zip(self.tracks, self.running.members, strict=True):
            if track:
                track.hear(member)
        # From here on: making the programs ready may have taken longer than there is between two states.
        self.state.written_at = time.monotonic()

    def train(self) -> None:
        """Train all runs, and record how each of them ended."""
        log.info("training %d runs as a stack, from epoch %d", len(self.tracks), self.running.epoch)
        for note in dict.fromkeys(note for track in self.tracks if track for note in track.info.exactness):
            log.info("%s", note)
        # Begun again without a state, runs that have won a place would compete for it again.
        if self.running.judge.halving:
            self.state.write(self.running, self.tracks)
        try:
            with expected_warnings():
                driver.fit(self.running, self)
        except BaseException as raised:
            error = self.interruption.cause(raised)
            if of_mapping(error):
                raise UnmappedError(reason(error, self.running.members[0].module)) from raised
            log.error("%s", error)
            if may_be_one_runs_fault(error):
                raise  # each of them is tried by itself
            left = [track for track in self.tracks if track and not track.info.finished]
            self._end([(track, status_of(error), brief(error)) for track in left])
            if error is not raised:
                raise error from raised
            raise
        self.state.remove()

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        """Record an epoch of every run; end those that came to their end; save what is due, and stop if asked to."""
        self._record(epochs)
        over = [(track, each) for each in epochs if each.ended and (track := self.tracks[each.run]) is not None]
        with together():
            for track, each in over:
                self._save(track, over=each.ended != "diverged")
        self._end([(track, *track.ending(each)) for track, each in over])
        self._advance(running)
        left = any(track and not track.info.finished for track in self.tracks)
        if left and self.interruption.received is not None:
            self.stopped(running)
        halved = any(each.ended == "halved" for each in epochs)
        if left and (halved or time.monotonic() - self.state.written_at >= self.checkpoints[0].every_seconds):
            self.state.write(running, self.tracks)

    def is_asked_to_stop(self) -> bool:
        """Whether a signal has come."""
        return self.interruption.received is not None

    def stopped(self, running: Running) -> NoReturn:
        """Save where the runs stand.

        Raises:
            Interrupted: always.
        """
        self._save_all()
        raise self.interruption.at(Position(running.epoch, running.batch, running.step))

    def _record(self, epochs: Sequence[RunEpoch]) -> None:
        groups: dict[tuple[int, tuple[str, ...]], list[tuple[Track, list[float]]]] = {}
        unlogged = self.running.unlogged
        for each in epochs:
            track = self.tracks[each.run]
            if track is not None:
                metrics = track.add(each, unlogged)
                # What logged the same names at one step has one layout of bytes, filled in for all at once.
                groups.setdefault((each.step, tuple(metrics)), []).append((track, list(metrics.values())))
        for (step, names), found in groups.items():
            written = [(track.record.events, values) for track, values in found if track.record.events]
            if written:
                records = encoded(names, [values for _, values in written], step=step, wall_time=time.time())
                for (events, _), record in zip(written, records, strict=True):
                    events.add(record)
        for each in epochs:
            track = self.tracks[each.run]
            # Only now, since it counts the bytes of this epoch's events too.
            if track is not None and each.best:
                track.note_best()

    def _advance(self, running: Running) -> None:
        bests = list(running.judge.best_values.values())
        best = (min if self.checkpoints[0].way == "min" else max)(bests) if bests else None
        if running.judge.max_epochs and running.judge.max_epochs > 0:
            self.advanced(running.epoch / running.judge.max_epochs, best)

    def _save_all(self) -> None:
        self.state.write(self.running, self.tracks)
        with together():
            for track in self.tracks:
                if track is not None and not track.info.finished:
                    self._save(track, over=False)

    def _save(self, track: Track, *, over: bool) -> None:
        """Write the run's own checkpoints; of one that diverged the best, or the first, from when it was finite."""
        running, place = self.running, track.place
        finite = running.endings.get(place) != "diverged"
        best_is_last = finite and running.best_is_last(place)
        best = None if best_is_last else running.best_checkpoint(place)
        if finite:
            last = running.checkpoint(place)
            track.save(last, best, running.position(place), over=over, best_is_last=best_is_last)
        elif best:
            track.save(None, best, Position(), over=False)
        else:
            # Drawn anew by its seed: a stack keeps no copy of how its runs began.
            track.save_first(Running([Member.of(track.job)]).checkpoint(0))

    def _end(self, endings: Sequence[tuple[Track, Status, str | None]]) -> None:
        """Write the final run.json of runs whose checkpoints are in place, and tell of them."""
        with together():
            for track, status, _ in endings:
                member = self.running.members[track.place]
                if status is Status.COMPLETED:
                    member.module.load_state_dict(self.running.best_weights(track.place))
                track.conclude(status, member)
        with together():
            # In a second round: run.json has the digests of files that are in place only since the first one ended.
            for track, status, reason in endings:
                track.end(status, reason, self.running.notes, self.running.stack.device.type)
        for track, _, _ in endings:
            self.ended(track.place, track.info)

    def _look(self, *, begins: bool, exact: bool, compares: bool) -> None:
        """See that the runs train here as they would alone, and faster.

        Raises:
            UnfitRunsError: where some would not, or whatever fails in the look: all of them have this code.
            InexactError: see `train_stack`.
        """
        every = range(len(self.running.members))
        try:
            if begins and (reasons := unlike_alone(self.running)):
                raise UnfitRunsError(reasons)
            rehearse(self.running, exact=exact)
            # Not where it goes on, nor where halving has to compare its runs in one stack.
            if begins and not compares and (why := slower(self.running)):
                raise UnfitRunsError(dict.fromkeys(every, why))
        except (UnfitRunsError, InexactError):
            raise
        except Exception as error:
            if not may_be_one_runs_fault(error):
                raise
            # Not each by itself in a stack of its own, which would come to the same once more for each.
            raise UnfitRunsError(dict.fromkeys(every, reason(error, self.running.members[0].module))) from error


def _members(runs: Sequence[StackRun], checkpoints: Sequence[Checkpoint]) -> list[Member]:
    """The runs with their samples and weights drawn.

    Raises:
        UnfitRunsError: where code of the user's own breaks at that; alone, such a run costs no other one.
    """
    members, broken = [], {}
    for place, (each, how) in enumerate(zip(runs, checkpoints, strict=True)):
        try:
            each.job.sources()
            member = Member.of(each.job, monitor=how.monitor, mode=how.mode)
            member.trainer.loggers = [RunLogger(each.run)]
            members.append(member)
        except (Exception, SystemExit) as error:  # whatever it raises: it is user code
            broken[place] = brief(error)
    if broken:
        raise UnfitRunsError(broken)
    return members
