"""Processes that compute as other x86-64 processors would, as far as the libraries let themselves be told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

PROGRAM = Path(__file__).resolve().parent / "programs" / "neighbors_here.py"
VARIABLES = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")


@dataclass(frozen=True)
class Processor:
    """What a process is told of the processor, and of how to compute."""

    aten: str
    """The instructions of torch's own kernels; the default is what every x86-64 processor has."""
    cbwr: str | None = None
    """MKL's run-to-run setting, where the user has one."""
    mkl: str | None = None
    """The most that MKL may use; all there is where None."""
    unprepared: bool = False
    """Whether torch has computed before shoal was imported, and so without its settings."""

    def __str__(self) -> str:
        named = [f"{name}={value}" for name, value in self.environment.items()]
        return ", ".join([*named, *(["unprepared"] if self.unprepared else [])])

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that say so."""
        values = zip(VARIABLES, (self.aten, self.cbwr, self.mkl), strict=True)
        return {name: value for name, value in values if value is not None}

    @property
    def missing(self) -> str | None:
        """What this processor has not; torch does not ask before it uses it."""
        if self.aten == "avx512" and not torch.cpu._is_avx512_supported():
            return "the processor has no AVX-512"
        if self.aten == "avx2" and not torch.cpu._is_avx2_supported():
            return "the processor has no AVX2"
        return None


EVERY = [
    *(
        Processor(*each)
        for each in product(("default", "avx2", "avx512"), (None, "AVX2", "COMPATIBLE"), (None, "AVX2"))
    ),
    *(Processor(aten, unprepared=True) for aten in ("default", "avx2", "avx512")),
]
FEW = [
    Processor("default", "COMPATIBLE", "AVX2"),
    Processor("avx2"),
    Processor("avx512", "AVX2"),
    Processor("avx2", unprepared=True),
]
"""Each value of each variable, and no setting at all."""


@dataclass(frozen=True)
class Report:
    """What a process has seen."""

    capability: str
    """What torch says that it computes with."""
    n: int
    """Cases that were drawn."""
    found: list[str]
    """Those in which a run had other bits in other company."""
    log: list[str]
    """What shoal logged, each sentence once."""


def report(processor: Processor, *, examples: int, seed: int, runs: int, stacks: int, cache: Path) -> Report:
    """What comes of runs that train in such a process; compiled kernels and what was learnt of them are in `cache`."""
    told = ["--examples", examples, "--seed", seed, "--runs", runs, "--stacks", stacks]
    command = [sys.executable, PROGRAM, *told, *(["--unprepared"] if processor.unprepared else [])]
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment = {**kept, **processor.environment, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{processor}: {done.stderr[-2000:]}")
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Report(**read)
