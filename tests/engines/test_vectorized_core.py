"""The core of the vectorised engine: a stack against a plain loop, and a run against itself in other company."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.epoch import Training
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.steady import steady
from shoal.models import MLP, Dropout
from shoal.models.dropout import keyed
from shoal.optimizers import SGD, Optimizer
from shoal.step.clock import Clock
from stacks import OPTIMIZERS, Build, columns, mapped_mlp, mlp, samples, stacked, trained


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with steady():
        yield


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request: pytest.FixtureRequest) -> Callable[[int], Optimizer]:
    return OPTIMIZERS[request.param]


def alone(
    seed: int,
    optimizer: Optimizer,
    *,
    steps: int,
    accumulate: int = 1,
    clip: Callable[[Any], Any] | None = None,
    build: Build = mlp,
) -> nn.Module:
    """The plain loop in float64."""
    module = build(seed).to(torch.float64)
    update = optimizer.alone(module.parameters())
    for number, (x, y) in enumerate(samples(seed, steps, torch.float64)):
        (nn.functional.mse_loss(module(x), y) / accumulate).backward()
        if (number + 1) % accumulate == 0 or number + 1 == steps:
            if clip:
                clip(module.parameters())
            update.step()
            update.zero_grad()
    return module


def difference(stack: Stack, row: int, module: nn.Module) -> float:
    weights = stack.weights(row)
    return max(float((weights[name] - param.detach()).abs().max()) for name, param in module.named_parameters())


def test_a_run_in_a_stack_equals_the_same_run_in_any_other_stack_to_the_bit(
    optimizer: Callable[[int], Optimizer],
) -> None:
    large, _ = trained(range(64), optimizer, steps=60)

    for seeds in ([11], [5, 11], [1, 2, 3, 11, 4, 5, 6]):
        small, _ = trained(seeds, optimizer, steps=60)

        row = seeds.index(11)
        assert torch.equal(small.params[row], large.params[11])
        assert all(
            torch.equal(small.state[name][row], large.state[name][11]) for name in large.rule.kept(settings(small))
        )


def settings(stack: Stack) -> dict[str, float]:
    return {name: float(column[0]) for name, column in stack.settings.items()}


def test_in_float64_a_stack_is_within_1e_12_of_the_loop_after_1300_steps(
    optimizer: Callable[[int], Optimizer],
) -> None:
    seeds = [1, 5]

    stack, _ = trained(seeds, optimizer, steps=1300, dtype=torch.float64)

    for row, seed in enumerate(seeds):
        assert difference(stack, row, alone(seed, optimizer(seed), steps=1300)) < 1e-12


def test_a_trace_gives_what_vmap_gives() -> None:
    by_trace, _ = trained(range(3), OPTIMIZERS["adam"], steps=60, dtype=torch.float64)
    by_vmap, _ = trained(range(3), OPTIMIZERS["adam"], steps=60, dtype=torch.float64, traced=False)

    assert float((by_trace.params - by_vmap.params).abs().max()) < 1e-13


def test_gradients_are_clipped_by_the_norm_of_each_run() -> None:
    limits = GradientLimits.of([0.1, None, 1.0], [None, None, None])

    stack, history = trained([0, 1, 2], lambda i: SGD(lr=0.1), steps=100, dtype=torch.float64, limits=limits)

    for row, limit in enumerate((0.1, 1e9, 1.0)):
        clipped = alone(
            row, SGD(lr=0.1), steps=100, clip=lambda params, limit=limit: nn.utils.clip_grad_norm_(params, limit)
        )
        assert difference(stack, row, clipped) < 1e-12
    before, after = torch.stack(history.norms), torch.stack(history.clipped_norms)
    assert (before[:, 0] > 0.1).any()
    assert (after[:, 0] <= 0.1 + 1e-9).all()
    assert torch.equal(before[:, 1], after[:, 1])


def test_gradients_are_clipped_by_value() -> None:
    limits = GradientLimits.of([None, None], [0.01, None])

    stack, _ = trained([0, 1], lambda i: SGD(lr=0.1), steps=100, dtype=torch.float64, limits=limits)

    for row, limit in enumerate((0.01, 1e9)):
        clipped = alone(
            row, SGD(lr=0.1), steps=100, clip=lambda params, limit=limit: nn.utils.clip_grad_value_(params, limit)
        )
        assert difference(stack, row, clipped) < 1e-12


def test_a_run_without_a_limit_is_the_same_beside_runs_with_one() -> None:
    free, _ = trained([3, 4], OPTIMIZERS["adam"], steps=30)

    beside, _ = trained([3, 4], OPTIMIZERS["adam"], steps=30, limits=GradientLimits.of([None, 0.01], [None, 0.01]))

    assert torch.equal(free.params[0], beside.params[0])
    assert not torch.equal(free.params[1], beside.params[1])


def test_gradients_are_accumulated_over_batches_and_the_rest_of_an_epoch() -> None:
    stack, history = trained([0, 1], OPTIMIZERS["adam"], steps=11, dtype=torch.float64, accumulate=4)

    assert len(history.norms) == 3
    for row in range(2):
        assert difference(stack, row, alone(row, OPTIMIZERS["adam"](row), steps=11, accumulate=4)) < 1e-12


def test_a_run_that_is_not_finite_leaves_the_others_untouched_to_the_bit(optimizer: Callable[[int], Optimizer]) -> None:
    def poisoned(seed: int) -> list[tuple[Tensor, Tensor]]:
        batches = samples(seed, 30)
        if seed == 7:
            batches[12] = (batches[12][0], batches[12][1] * torch.nan)
        return batches

    with_it, _ = trained([3, 7, 5], optimizer, steps=30, data=poisoned)
    without, _ = trained([3, 5], optimizer, steps=30)

    assert torch.equal(with_it.params[0], without.params[0])
    assert torch.equal(with_it.params[2], without.params[1])
    assert (with_it.diverged[1].step, with_it.diverged[1].what) == (12, "loss")
    assert list(with_it.diverged) == [1]


def test_a_diverged_run_keeps_the_weights_it_had() -> None:
    def poisoned(seed: int) -> list[tuple[Tensor, Tensor]]:
        return [(x, y * torch.inf if i >= 12 else y) for i, (x, y) in enumerate(samples(seed, 30))]

    stopped, _ = trained([7], OPTIMIZERS["adam"], steps=30, data=poisoned)
    until, _ = trained([7], OPTIMIZERS["adam"], steps=12)

    assert torch.equal(stopped.params[0], until.params[0])
    assert stopped.steps[0] == 12


def test_a_stopped_run_never_changes_again_and_the_rest_goes_on_as_before(
    optimizer: Callable[[int], Optimizer],
) -> None:
    through, _ = trained([0, 1, 2, 3], optimizer, steps=40)
    first, _ = trained([0, 1, 2, 3], optimizer, steps=20)
    first.active[1] = False
    frozen = first.params[1].clone()

    continued(first, [0, 1, 2, 3], optimizer, range(20, 40))

    assert torch.equal(first.params[1], frozen)
    assert first.steps == [40, 20, 40, 40]
    for row in (0, 2, 3):
        assert torch.equal(first.params[row], through.params[row])


def test_a_smaller_stack_goes_on_as_the_larger_one_would(optimizer: Callable[[int], Optimizer]) -> None:
    through, _ = trained(range(8), optimizer, steps=40)
    first, _ = trained(range(8), optimizer, steps=20)

    rest = first.select([6, 2])
    continued(rest, [6, 2], optimizer, range(20, 40))

    assert torch.equal(rest.params, through.params[[6, 2]])


def test_a_stack_goes_on_from_its_state_dict_to_the_bit(optimizer: Callable[[int], Optimizer]) -> None:
    through, _ = trained([0, 1, 2], optimizer, steps=40)
    saved = trained([0, 1, 2], optimizer, steps=20)[0].state_dict()

    fresh, _ = trained([0, 1, 2], optimizer, steps=1)
    fresh.load_state_dict(saved)
    continued(fresh, [0, 1, 2], optimizer, range(20, 40))

    assert torch.equal(fresh.params, through.params)


def continued(stack: Stack, seeds: Sequence[int], optimizer: Callable[[int], Optimizer], steps: range) -> None:
    data = stacked([samples(seed, steps.stop)[steps.start :] for seed in seeds])
    lrs = [columns([optimizer(seed).lr for seed in seeds])]  # type: ignore[attr-defined]
    training = Training(stack, mapped_mlp(1, True))
    training.epoch(data, lrs, Clock(1, 0, steps.start), n_batches=len(data))


def test_optimizer_state_goes_to_torch_and_back(optimizer: Callable[[int], Optimizer]) -> None:
    stack, _ = trained([0, 1], optimizer, steps=50, dtype=torch.float64)
    module = mlp(1).to(torch.float64)
    update = optimizer(1).alone(module.parameters())
    fresh, _ = trained([0, 1], optimizer, steps=1, dtype=torch.float64)

    module.load_state_dict(stack.weights(1))
    update.load_state_dict({"state": stack.optimizer_state(1), "param_groups": update.state_dict()["param_groups"]})
    for x, y in samples(1, 100, torch.float64)[50:]:
        nn.functional.mse_loss(module(x), y).backward()
        update.step()
        update.zero_grad()
    fresh.load_weights(1, module.state_dict())
    fresh.load_optimizer_state(1, update.state_dict()["state"], steps=100)

    through, _ = trained([0, 1], optimizer, steps=100, dtype=torch.float64)
    kept = stack.rule.kept({name: float(column[1]) for name, column in stack.settings.items()})
    assert torch.allclose(fresh.params[1], through.params[1], rtol=0, atol=1e-12)
    assert all(torch.allclose(fresh.state[name][1], through.state[name][1], rtol=0, atol=1e-12) for name in kept)


def normed(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 1))


def test_batch_norm_keeps_running_statistics_for_each_run() -> None:
    stack, _ = trained([0, 1, 2], lambda i: SGD(lr=0.1), steps=50, build=normed, dtype=torch.float64)

    plain = alone(2, SGD(lr=0.1), steps=50, build=normed)

    assert difference(stack, 2, plain) < 1e-12
    weights = stack.weights(2)
    for name, value in plain.named_buffers():
        assert torch.allclose(weights[name], value, rtol=0, atol=1e-12)


def dropping(seed: int) -> nn.Module:
    module = MLP(hidden=(16, 16), dropout=0.3).build(inputs=1, outputs=1, generator=torch.Generator().manual_seed(seed))
    keyed(module, seed, 0, 0)
    return module


@pytest.mark.parametrize("build", [normed, dropping])
def test_buffers_do_not_make_a_run_depend_on_its_stack(build: Build) -> None:
    large, _ = trained(range(32), OPTIMIZERS["adam"], steps=40, build=build)

    small, _ = trained([4, 9], OPTIMIZERS["adam"], steps=40, build=build)

    assert torch.equal(small.params, large.params[[4, 9]])
    assert all(torch.equal(small.buffers[name], large.buffers[name][[4, 9]]) for name in large.buffers)


def test_each_run_drops_what_its_own_key_says() -> None:
    stack, _ = trained([0, 1, 2], lambda i: SGD(lr=0.1), steps=40, build=dropping, dtype=torch.float64)

    for row in range(3):
        assert difference(stack, row, alone(row, SGD(lr=0.1), steps=40, build=dropping)) < 1e-12
    assert any(isinstance(module, Dropout) for module in dropping(0).modules())


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh", "sigmoid", "softplus", "elu", "leaky_relu"])
def test_the_kernels_of_every_activation_are_blind_to_the_stack(activation: Any) -> None:
    def build(seed: int) -> nn.Module:
        drawn = torch.Generator().manual_seed(seed)
        return MLP(hidden=(7, 33), activation=activation).build(inputs=1, outputs=1, generator=drawn)

    large, _ = trained(range(33), OPTIMIZERS["adam"], steps=20, build=build)
    small, _ = trained([31, 8, 2], OPTIMIZERS["adam"], steps=20, build=build)

    assert torch.equal(small.params, large.params[[31, 8, 2]])


def test_a_deep_network_of_odd_widths_is_blind_to_the_stack() -> None:
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        widths = [1, 3, 70, 5, 128, 1]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU())]
        return nn.Sequential(*layers[:-2])

    large, _ = trained(range(48), OPTIMIZERS["sgd"], steps=20, build=build)
    small, _ = trained([47, 13], OPTIMIZERS["sgd"], steps=20, build=build)

    assert torch.equal(small.params, large.params[[47, 13]])


def test_float64_runs_are_blind_to_the_stack_too() -> None:
    large, _ = trained(range(64), OPTIMIZERS["adam"], steps=30, dtype=torch.float64)
    small, _ = trained([11, 3], OPTIMIZERS["adam"], steps=30, dtype=torch.float64)

    assert torch.equal(small.params, large.params[[11, 3]])


def test_a_step_that_is_not_traced_is_blind_to_the_stack_too() -> None:
    large, _ = trained(range(9), OPTIMIZERS["adam"], steps=10, traced=False, build=normed)
    small, _ = trained([7, 3], OPTIMIZERS["adam"], steps=10, traced=False, build=normed)

    assert torch.equal(small.params, large.params[[7, 3]])
