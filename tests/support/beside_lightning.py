"""Runs of a stack beside the same runs alone: by the vectorised engine to the bit, and by Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from driven import Kept
from shoal.engines import lightning
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from styled import job_of


def trained(module: Any, seeds: Sequence[int], save_after: int | None = None) -> tuple[Running, Kept]:
    """A stack of runs of such a module, tried before it trains."""
    running, kept = Running([Member.of(job_of(module, seed)) for seed in seeds]), Kept(save_after)
    assert unlike_alone(running) == {}
    fit(running, kept)
    return running, kept


def is_as_alone(module: Any) -> Running:
    """See that a run of a stack has the bits of the run by itself, and the numbers that Lightning gives; the stack."""
    running, kept = trained(module, (0, 1, 2))
    single, _ = trained(module, (1,))
    own = job_of(module, 1)
    alone = own.module()
    with lightning.expected_warnings():
        expected = lightning.fit(own, alone).callback_metrics

    found, itself = running.checkpoint(1)["state_dict"], single.checkpoint(0)["state_dict"]
    for name, value in alone.state_dict().items():
        assert torch.allclose(found[name], value, rtol=1e-12)
        assert torch.equal(found[name], itself[name])
    assert {name: kept.curve(1, name)[-1] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-12
    )
    return running
