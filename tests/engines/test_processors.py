"""A run's bits on processors of other kinds: the same whichever runs it trains with, compiled or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors import FEW, Processor, report

CAPABILITIES = {"default": "DEFAULT", "avx2": "AVX2", "avx512": "AVX512"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processors, as where a home directory is shared: nothing that one has learnt misleads another."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "processor", [pytest.param(each, marks=[pytest.mark.long] if each == FEW[1] else []) for each in FEW], ids=str
)
def test_a_run_has_the_same_bits_whichever_runs_it_trains_with_on(processor: Processor, cache: Path) -> None:
    if processor.missing:
        pytest.skip(processor.missing)

    seen = report(processor, examples=3, seed=FEW.index(processor), runs=16, stacks=1, cache=cache)

    assert seen.capability == CAPABILITIES[processor.aten]
    assert seen.n == 3
    assert seen.found == []
    assert not [line for line in seen.log if line.startswith("Left to torch")]
