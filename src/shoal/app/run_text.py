"""What the terminal says of a run that has ended."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from shoal.build.expectations import table
from shoal.errors import ExitCode
from shoal.judging import shown_curves
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR
from shoal.review.fit_lines import fit_lines
from shoal.review.wording import in_unit, measure, of_best_state
from shoal.rundir import RunDir, RunInfo, missed

_WARNING = re.compile(r"^\S+ \S+ WARNING \S+: (.+)$", re.MULTILINE)
_LONGEST = 160
"""Letters of a warning that are shown."""
_MOST_CLASSES = 20
"""Classes that the terminal shows."""


def run_text(run: RunDir, info: RunInfo) -> str:
    """Metrics, parameters, time and directory, a line each."""
    length = f": {info.epochs} epochs, {info.steps} steps" if info.steps else ""
    lines = [f"{info.task} {info.status} in {info.seconds:.1f} s{length}"]
    # The losses before all else, as everybody looks for them.
    first = [name for name in reversed(shown_curves(info.final)) if name]
    others = [name for name in info.final if name not in (*first, LR, GRAD_NORM, GRAD_NORM_CLIPPED)]
    # A check prints what it has measured by itself.
    rows = [(name, _metric(name, info)) for name in (*first, *others)] if info.steps else []
    rows += [(f"  {name}", text) for name, text in (*_noise(info), *_baselines(info))]
    if info.parameters:
        rows.append(("parameters", f"{info.parameters:,}"))
    path = _short(run.path)
    rows.append(("directory", path))
    if run.fit_figure.exists():
        rows.append(("figure", _short(run.fit_figure)))
    if run.events():
        rows.append(("tensorboard", f"tensorboard --logdir {path}"))
    rows += _warned(run)
    width = max(len(name) for name, _ in rows)
    lines += [f"  {name:<{width}}  {text}" for name, text in rows]
    return "\n".join(
        [
            *lines,
            *(
                f"  {line}"
                for line in (*(fit_lines(info.fit) if info.fit else ()), *_classes(info), *table(info.expected))
            ),
        ]
    )


def _warned(run: RunDir) -> Iterator[tuple[str, str]]:
    """How many warnings the run's log has, and what the last one says: mostly of a mistake in a module's code."""
    found = _WARNING.findall(run.log.read_text(errors="replace")) if run.log.exists() else []
    if found:
        yield "warnings", f"{len(found)} in train.log, the last: {_shortened(found[-1])}"


def _shortened(text: str) -> str:
    path, colon, rest = text.partition(":")
    text = f"{_short(Path(path))}:{rest}" if colon and Path(path).is_absolute() else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def exit_code(info: RunInfo) -> ExitCode:
    """What the process returns for a run that has ended well: whether it is as its experiment expects."""
    return ExitCode.FAILED if missed(info.expected) else ExitCode.OK


def _noise(info: RunInfo) -> Iterator[tuple[str, str]]:
    """The loss that the noise of the samples leaves, and how many times that the best state has."""
    floor, model = info.references.get("noise"), info.references.get("model")
    if floor and model is not None:
        yield "noise floor", f"{floor:.6g}   the best state has {model / floor:.3g} times that"


def _baselines(info: RunInfo) -> Iterator[tuple[str, str]]:
    """What the simplest models achieve on the same samples, below the names of what is measured."""
    baselines = (info.assessment or {}).get("baselines", {})
    measured = list(next(iter(baselines.values()), {}))
    widths = {name: max(len(name), 9) for name in measured}
    if baselines:
        yield "baselines", "  ".join(f"{name:>{width}}" for name, width in widths.items())
    for name, metrics in baselines.items():
        yield name, "  ".join(f"{measure(metrics[metric]):>{width}}" for metric, width in widths.items())


def _classes(info: RunInfo) -> Iterator[str]:
    """How well each class is found, a line each; the first ones where there are many."""
    scores = (info.assessment or {}).get("classes", [])
    if not scores:
        return
    width = max(len("class"), *(len(score["name"]) for score in scores))
    yield f"{'class':<{width}}  precision  recall     F1  samples"
    for score in scores[:_MOST_CLASSES]:
        ratios = f"{score['precision']:9.3f}  {score['recall']:6.3f}  {score['f1']:5.3f}"
        yield f"{score['name']:<{width}}  {ratios}  {score['support']:7}"
    if len(scores) > _MOST_CLASSES:
        yield f"and {len(scores) - _MOST_CLASSES} more: see assessment in run.json"


def _metric(name: str, info: RunInfo) -> str:
    """The last value, and where it is another one that of the best state."""
    last = in_unit(f"{info.final[name]:.6g}", name, info.unit)
    return "   ".join(filter(None, (last, of_best_state(name, info, "{:.6g}".format))))


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
