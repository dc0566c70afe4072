"""Records a check in its run directory, as a training is."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shoal.build.expectations import Expectation, compared, refuse_unknown
from shoal.checks.check import AGREES, Check, CheckOfItself, Measured, Occasion
from shoal.errors import brief
from shoal.instructions import NATIVE, in_use
from shoal.names import EPOCH, STEP
from shoal.record import environment
from shoal.rundir import (
    History,
    RunDir,
    RunInfo,
    Status,
    claim,
    heartbeat,
    seal,
    write_bytes,
    write_config,
    write_info,
)
from shoal.rundir.heartbeat import beating
from shoal.rundir.info import now

log = logging.getLogger("shoal")


def record(
    check: Check, config: Mapping[str, Any], run: RunDir, info: RunInfo, wanted: Sequence[Expectation]
) -> RunInfo:
    """Measure, compare and write everything down; what run.json says in the end.

    Raises:
        ShoalError: where it cannot be measured, or what is expected is not measured; the failure is recorded.
    """
    began = time.monotonic()
    info = _opened(config, run, info)
    try:
        with beating(run.info):
            measured = _measured(check, Occasion(config, run, info))
        log.info("%s", measured.text)
        # The log leads to train.log alone.
        print(measured.text)
        info = _concluded(measured, run, measured.info or info, wanted)
    # Ctrl-C too: nothing else would end the record, and the run would count as lost.
    except BaseException as error:
        write_info(run.info, replace(info, status=Status.FAILED, reason=brief(error), ended=now()))
        raise
    info = replace(info, seconds=time.monotonic() - began, ended=now(), artifacts=seal(run.path, run.artifacts()))
    write_info(run.info, info)
    return info


def _measured(check: Check, occasion: Occasion) -> Measured:
    return check.measure() if isinstance(check, CheckOfItself) else check.measure(occasion)


def _opened(config: Mapping[str, Any], run: RunDir, info: RunInfo) -> RunInfo:
    info = replace(
        info,
        pid=os.getpid(),
        host=socket.gethostname(),
        beats=heartbeat.SECONDS,
        started=now(),
        git=environment.working_tree()[0],
        versions=environment.versions(),
        hardware=environment.hardware("cpu", 1),
        numerics=config.get("numerics", NATIVE),
        instructions=in_use(),
    )
    with claim(run):
        write_config(run.config, config)
        write_info(run.info, info)
    return info


def _concluded(measured: Measured, run: RunDir, info: RunInfo, wanted: Sequence[Expectation]) -> RunInfo:
    from shoal.pictures import rendering

    rows = [*measured.rows]
    # A new row: the check may keep the one that it gave.
    rows[-1] = {**rows[-1], AGREES: float(measured.agrees)}
    wanted = [*wanted]
    if all(each.metric != AGREES for each in wanted):
        wanted.append(Expectation(metric=AGREES, value=1))
    final = {name: value for row in rows for name, value in row.items()}
    # Before anything is refused: what was measured is kept also where a wrong name was expected.
    history = _history(run, rows, info)
    refuse_unknown(wanted, {*final, *info.final})
    for name, figure in measured.figures.items():
        write_bytes(run.figures / f"{name}.png", rendering.png(figure))
    info = replace(info, status=Status.COMPLETED, final={**info.final, **final})
    outcomes = compared(wanted, info, history)
    return replace(info, expected=[each.plain() for each in outcomes])


def _history(run: RunDir, rows: Sequence[Mapping[str, float]], info: RunInfo) -> History:
    """The rows as metrics.csv; where a training has written that already, they are in run.json only."""
    history = History(run.history)
    for number, row in enumerate(rows, start=1):
        # A check takes no steps: the rows are numbered, for whoever draws them.
        history.add({STEP: number, EPOCH: 0, **row})
    if not info.steps:
        history.flush()
    return history
