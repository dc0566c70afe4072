"""`shoal show` of a sweep, on a page of the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from shoal.errors import shown
from shoal.review.entries import RunEntry, SweepEntry
from shoal.review.importance import LEAST, Importance
from shoal.review.importance import importance as importance_of
from shoal.review.listing import default_columns, write_listing
from shoal.review.ranking import Ranking
from shoal.review.show_run import command
from shoal.review.spread import HEADS
from shoal.review.terminal_page import facts, head, ratio, sentences, table
from shoal.review.values import AT_BEST, ranking
from shoal.review.wording import chance, counted, cut, duration, number, outcomes, printable
from shoal.review.wording import settings as as_text
from shoal.rundir import StudyInfo

_TOP = 5


def show_sweep(screen: Console, sweep: SweepEntry, *, importance: bool = False) -> None:
    """Print a sweep: how many jobs ended how, its best runs, and the runs that did not complete.

    With `importance` also how much each setting mattered, which takes seconds.

    Raises:
        UsageError: where what computes it is missing.
    """
    head(screen, sweep)
    if sweep.info:
        facts(screen, [("command", command(sweep.info)), ("took", duration(sweep.info.seconds))])
    counts = outcomes(dict(sweep.counts().most_common()), sweep.n_halved)
    varies = printable(", ".join(map(str, sweep.info.varies))) if sweep.info else ""
    facts(screen, [("runs", counts), ("over", varies)])
    if sweep.info and sweep.info.study:
        facts(screen, _search(sweep.info.study))
    found = ranking(sweep.runs, tested=True)
    if found and found.order:
        _best(screen, found)
    if importance:
        _importance(screen, importance_of(sweep.runs))
    broken = [run for run in sweep.runs if run.status not in ("completed", "running")]
    if broken:
        screen.print(f"\n{counted(len(broken), 'run')} not completed", style="bold")
        write_listing(screen, broken[: 2 * _TOP], ["id", "status", "what"])
    if len(broken) > 2 * _TOP:
        shown_of = cut(2 * _TOP, len(broken))[0]
        screen.print(f"{shown_of}; all of them: shoal runs {sweep.path} --where \"status != 'completed'\"")


def _best(screen: Console, found: Ranking[RunEntry]) -> None:
    """The best settings with mean and spread over their seeds and folds, and the best runs of the first of them."""
    metric = printable(found.yardstick.metric)
    if found.over:
        # A setting all of whose runs halving has stopped has no mean.
        told = [setting for setting in found.settings if setting.spread.of]
        best = told[: 2 * _TOP]
        cells = [[*setting.spread.cells, str(setting.halved or ""), chance(setting.p)] for setting in best]
        columns = {
            name: each
            for name, each in zip((*HEADS, "halved", "p"), zip(*cells, strict=True), strict=True)
            if any(each)
        }
        screen.print(f"\nsettings by the mean {metric} over {found.over}", style="bold")
        table(screen, "", [as_text(setting.values, brief=True) or "all runs" for setting in best], columns)
        sentences(screen, [*cut(len(best), len(told)), found.yardstick.note, found.verdict])
    runs = list(found.settings[0].runs if found.over else found.order)
    of = " of the first setting" if len(found.settings) > 1 and found.over else ""
    screen.print(f"\nbest runs{of} by {metric}", style="bold")
    names = default_columns(runs[:_TOP])
    if found.yardstick.losses:  # of which the runs that are listed may have one
        names = [f"{AT_BEST}{found.yardstick.metric}" if name == "best" else name for name in names]
    write_listing(screen, runs[:_TOP], names)
    sentences(screen, cut(min(_TOP, len(runs)), len(runs)))
    if not found.over:
        sentences(screen, [found.yardstick.note, found.verdict])


def _importance(screen: Console, found: Importance | None) -> None:
    """How much each setting mattered."""
    screen.print("\nhow much each setting mattered", style="bold")
    if found is None:
        sentences(screen, [f"that takes two settings that differ, and {LEAST} runs that ended"])
        return
    if found.shares:
        table(screen, "", list(found.shares), {"share": [ratio(share) for share in found.shares.values()]})
    sentences(screen, [found.told])


def _search(study: StudyInfo) -> Iterable[tuple[str, str]]:
    goals = ", ".join(f"{direction} {name}" for name, direction in study.objectives.items())
    yield "search", printable(f"{study.n_trials} trials by {study.sampler}: {goals}")
    for trial in study.best[:_TOP]:
        values = ", ".join(f"{name} {number(value)}" for name, value in trial.values.items())
        settings = " ".join(f"{name}={shown(value)}" for name, value in trial.settings.items())
        yield "best", printable(f"trial {trial.number}: {values}; {settings}; runs {' '.join(trial.runs)}")
    if len(study.best) > _TOP:
        yield "best", f"and {len(study.best) - _TOP} more of the Pareto front: see trials.csv"
