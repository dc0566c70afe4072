"""Train runs as hypothesis draws them, together and fewer of them, and print whether any has other bits, as JSON.

It is meant for a process of its own: what the libraries compute with is settled by its environment.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--examples", type=int, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--runs", type=int, required=True, help="how many train all together")
parser.add_argument("--stacks", type=int, required=True, help="how many stacks some of the runs train again in")
parser.add_argument("--unprepared", action="store_true", help="compute before shoal is there to settle anything")
given = parser.parse_args()

if given.unprepared:
    torch.ones(2, 2) @ torch.ones(2, 2)  # MKL reads its settings now

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shoal.startup import cheap_imports  # noqa: E402

with cheap_imports():
    from hypothesis import HealthCheck, Phase, seed, settings
    from hypothesis import given as drawn
    from hypothesis import strategies as st

    from layers import KINDS
    from neighbors import FEWER, cases, dependent
    from shoal.rundir.log import quiet_logging
    from shoal.step.compiled import program
    from shoal.step.compiled.library import Library


class Kept(logging.Handler):
    """Keeps what shoal logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.messages[record.getMessage()] = None


def at_once(library: Library, ready: Any = Library.ready) -> bool:
    """Whether the compiler is done, once it is."""
    if library._compiling is not None:
        library._compiling.join()
    return bool(ready(library))


def examined() -> tuple[int, list[str]]:
    """How many cases were drawn, and for each that depends on the neighbors what it is and in what.

    Their first layers are of one kind after the other; with the seed they go on where they ended with the one before.
    """
    n, found, kinds = 0, [], list(KINDS)

    @seed(given.seed)
    @settings(
        max_examples=given.examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @drawn(st.data(), st.randoms(use_true_random=False), st.booleans())
    def example(data: st.DataObject, order: Any, compiled: bool) -> None:
        nonlocal n
        case = data.draw(cases(first=kinds[(given.seed * given.examples + n) % len(kinds)]))
        n += 1
        program.HOT = 0.0 if compiled else 1e9
        differing = dependent(case, given.runs, order, order.sample(FEWER, given.stacks))
        if differing:
            found.append(f"{case}, {'compiled' if compiled else 'by torch'}: {'; '.join(differing[:3])}")

    example()
    return n, found


torch.set_num_threads(1)
Library.ready = at_once  # type: ignore[method-assign]
kept = Kept()
with quiet_logging(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    logging.getLogger("shoal").setLevel(logging.INFO)
    logging.getLogger("shoal").addHandler(kept)
    n, found = examined()
print(
    json.dumps({"capability": torch.backends.cpu.get_cpu_capability(), "n": n, "found": found, "log": [*kept.messages]})
)
