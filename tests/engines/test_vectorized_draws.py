"""What a step draws at random in a stack: from keys, so that a run draws there what it draws alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from driven import Kept, job
from own_modules import Wave
from shoal.engines.job import Job
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import SGD
from shoal.step.clock import Clock
from shoal.step.drawn.keys import StepKeys
from shoal.step.drawn.numbers import Draws
from shoal.step.drawn.replacements import REPLACEMENTS
from shoal.step.mapped import Mapped
from shoal.step.stepped import Outcome, Stepped
from shoal.tasks import LightningTask, Parabola

SEEDS = (3, 1, 4, 1)
"""Two runs of one seed among them."""
X = torch.linspace(0.1, 1.9, 48).view(4, 12)
HEADS = nn.MultiheadAttention(12, 3, dropout=0.4)

STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dropout": lambda x, w: functional.dropout(x * w, 0.3),
    "dropout in place": lambda x, w: functional.dropout(x * w, 0.3, inplace=True),
    "layers": lambda x, w: nn.Sequential(nn.Dropout(0.5), nn.Tanh(), nn.Dropout(0.5))(x * w),
    "channels": lambda x, w: functional.dropout2d((x * w).view(2, 3, 2, 4), 0.5),
    "channels of one sample": lambda x, w: functional.dropout1d((x * w).view(12, 4), 0.5),
    "alpha dropout": lambda x, w: functional.alpha_dropout(x * w, 0.3, training=True),
    "alpha dropout of channels": lambda x, w: functional.feature_alpha_dropout(x * w, 0.3, training=True),
    "attention": lambda x, w: functional.scaled_dot_product_attention(x * w, x, x, dropout_p=0.4, is_causal=True),
    "several heads": lambda x, w: HEADS(x * w, x, x)[0],
    "rand": lambda x, w: torch.rand(4, 12) * x * w,
    "randn": lambda x, w: torch.randn((4, 12)) * w,
    "like": lambda x, w: torch.randn_like(x * w) + torch.rand_like(w) * w,
    "whole numbers": lambda x, w: torch.randint(2, 9, (4, 12)) * w + torch.randint_like(x, 5),
    "an order": lambda x, w: (x * w)[torch.randperm(4)],
    "flags": lambda x, w: torch.bernoulli(x / 2) * w + torch.bernoulli(x * w.detach(), p=0.2),
    "normal": lambda x, w: torch.normal(x, 0.1) * w,
    "a choice": lambda x, w: torch.multinomial(x, 12) * w + torch.multinomial(x, 20, replacement=True).sum(),
    "gumbel": lambda x, w: functional.gumbel_softmax(x * w, tau=0.7),
    "slopes": lambda x, w: functional.rrelu(x * w - 1, training=True),
    "filled": lambda x, w: torch.empty(4, 12).normal_() * w + torch.zeros(12).uniform_(1, 2).exponential_(3.0),
    "filled otherwise": lambda x, w: w * x.clone().cauchy_() * torch.empty(12).log_normal_().geometric_(0.2),
    "distributions": lambda x, w: torch.distributions.Normal(x * w, w.abs() + 1).rsample(),
    "classes": lambda x, w: w * torch.distributions.Categorical(logits=x).sample()[:, None],
}


def stepped(
    draw: Callable[[Tensor, Tensor], Tensor],
    seeds: Sequence[int] = SEEDS,
    *,
    at: tuple[int, int] = (0, 0),
    traced: bool = True,
    dtype: torch.dtype = torch.float32,
    mapped: Mapped | None = None,
) -> Stepped:
    """A step whose loss is the mean of what is drawn, which it gives as well, for a run of each seed."""

    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        with clock.drawing():
            found = draw(batch, params["w"])
        return Outcome(found.to(dtype).mean(), {}, {}, (found,))

    runs = len(seeds)
    clock = Clock(*at, keys=StepKeys(seeds))
    mapped = mapped or Mapped(step, traced=traced)
    weights = torch.linspace(0.5, 1.5, 12, dtype=dtype).expand(runs, 12).contiguous()
    return mapped({"w": weights}, {}, X.to(dtype).expand(runs, 4, 12).contiguous(), clock)


@pytest.mark.parametrize("name", STEPS)
def test_a_run_draws_in_a_stack_what_it_draws_in_any_other(name: str) -> None:
    many, two = (stepped(STEPS[name], seeds, traced=False) for seeds in (SEEDS, SEEDS[:2]))

    [drawn], [fewer] = many.outputs, two.outputs
    assert torch.equal(drawn[:2], fewer)
    assert torch.equal(many.grads[0][:2], two.grads[0])
    assert torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn.isfinite().all()


@pytest.mark.parametrize("at", [(0, 1), (1, 0), (300, 700)])
def test_each_batch_of_each_epoch_has_numbers_of_its_own(at: tuple[int, int]) -> None:
    mapped = Mapped(_drawn)
    first, later, again = (_rows(mapped, each) for each in ((0, 0), at, (0, 0)))

    assert torch.equal(first, again)
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), later.flatten()]))[0, 1])) < 0.06


def test_training_and_validation_draw_apart() -> None:
    keys = StepKeys([5])

    assert not torch.equal(keys.at(0, 0, trains=True), keys.at(0, 0, trains=False))


def test_what_is_drawn_does_not_depend_on_how_the_step_is_run() -> None:
    def draw(x: Tensor, w: Tensor) -> Tensor:
        return functional.dropout(x * w, 0.3) + torch.rand(4, 12)

    for dtype in (torch.float32, torch.float64):
        assert torch.equal(stepped(draw, dtype=dtype).outputs[0], stepped(draw, dtype=dtype, traced=False).outputs[0])


def test_a_step_that_draws_nothing_asks_for_no_keys() -> None:
    mapped = Mapped(_still)
    keys = StepKeys(SEEDS)
    asked: list[int] = []
    keys.at = lambda *args, **kwargs: asked.append(1) or keys.none  # type: ignore[method-assign,func-returns-value]

    for number in range(4):
        mapped({"w": torch.ones(4, 12)}, {}, X.expand(4, 4, 12), Clock(0, number, keys=keys))

    assert len(asked) == 1


class Noisy(Wave):
    """Drops out, and draws by itself in training and validation."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x)) + torch.distributions.Normal(0.0, 0.1).rsample()


class Pictured(Wave):
    """Looks at its input as at pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2))
        self.last = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        pictures = self.pictures(x.view(-1, 1, 1, 1) * torch.linspace(-1, 1, 6).view(1, 1, 3, 2))
        found: Tensor = self.last(pictures.view(len(x), -1))
        return found


def own_job(seed: int, module: Callable[[], Any]) -> Job:
    samples = Parabola(seed=seed, n_samples=40, batch_size=16)
    task = LightningTask(module=module, samples=samples, seed=seed)
    chosen: dict[str, Any] = {"task": task, "model": OwnModel(), "loss": OwnLoss(), "optimizer": SGD(lr=0.05)}
    return job(seed, precision="32-true", max_epochs=4, **chosen)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
@pytest.mark.parametrize("module", [Noisy, Pictured])
def test_runs_that_draw_train_in_a_stack_as_alone_and_go_on_to_the_bit(module: Callable[[], Any]) -> None:
    kept, alone, rest = Kept(save_after=2), Kept(), Kept()
    running, single, again = (
        Running([Member.of(own_job(seed, module)) for seed in seeds]) for seeds in ((0, 1, 2), [1], (0, 1, 2))
    )

    assert unlike_alone(running) == {}
    fit(running, kept)
    fit(single, alone)
    again.load_state_dict(kept.saved)
    fit(again, rest)

    weights = [each.checkpoint(run)["state_dict"] for each, run in ((running, 1), (single, 0), (again, 1))]
    assert all(torch.equal(weights[0][name], each[name]) for each in weights for name in each)
    for name in ("train_loss", "val_loss"):
        assert kept.curve(1, name) == alone.curve(0, name)
        assert kept.curve(1, name)[2:] == rest.curve(1, name)


def test_what_is_drawn_with_a_generator_of_its_own_is_not_mapped() -> None:
    own = torch.Generator()

    with pytest.raises(RuntimeError, match="random operation"):
        stepped(lambda x, w: x * w + torch.rand(4, 12, generator=own))


def _drawn(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
    with clock.drawing():
        return Outcome(params["w"].sum(), {}, {}, (torch.rand(60, 12),))


def _still(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
    return Outcome((batch * params["w"]).sum(), {}, {})


def _rows(mapped: Mapped, at: tuple[int, int]) -> Tensor:
    return mapped({"w": torch.ones(4, 12)}, {}, X.expand(4, 4, 12), Clock(*at, keys=StepKeys(SEEDS))).outputs[0][:3]


N = 1024
KEYS = [key for number in range(8) for key in StepKeys(range(32)).at(0, number, trains=True)]
"""Of 32 runs in each of 8 steps."""


def _every(number: Callable[..., Tensor], *args: Any) -> Tensor:
    """Numbers of all of these, a row for each."""
    return torch.stack([number(Draws(key), *args) for key in KEYS]).double()


def test_dropout_keeps_as_many_as_it_says_whatever_run_step_or_element() -> None:
    x = torch.ones(N)
    for p in (0.1, 0.5, 0.9):
        kept = _every(REPLACEMENTS[torch.dropout], x, p, True)

        assert sorted(set(kept.flatten().tolist())) == pytest.approx([0, 1 / (1 - p)])
        share = (kept > 0).double()
        spread = (p * (1 - p)) ** 0.5
        assert abs(float(share.mean()) - (1 - p)) < 4 * spread / share.numel() ** 0.5
        for dim, n in ((0, len(KEYS)), (1, N)):
            deviations = (share.mean(dim) - (1 - p)) / (spread / n**0.5)
            assert deviations.abs().max() < 5
            assert float(deviations.square().mean()) == pytest.approx(1, abs=0.4 if dim else 0.2)


def test_uniform_numbers_are_uniform_and_of_no_pattern() -> None:
    found = _every(Draws.uniform, [N], torch.float32)

    assert 0 <= float(found.min()) < 1e-4
    assert 1 - 1e-4 < float(found.max()) < 1
    counts = torch.histc(found, 256, 0, 1)
    assert float((counts - counts.mean()).square().sum() / counts.mean()) < 255 + 4 * 510**0.5
    pairs = [(found[:, :-1], found[:, 1:]), (found[:-1], found[1:]), (found[:-32], found[32:])]
    for one, other in pairs:  # elements, runs and steps side by side
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 4 / 512


def test_normal_and_exponential_numbers_have_the_moments_of_theirs() -> None:
    for dtype in (torch.float32, torch.float64):
        normal = _every(Draws.normal, [N], dtype)
        times = _every(Draws.exponential, [N], dtype)

        moments = [float((normal**power).mean()) for power in (1, 2, 3, 4)]
        assert moments == pytest.approx([0, 1, 0, 3], abs=0.08)
        assert [float((times**power).mean()) for power in (1, 2)] == pytest.approx([1, 2], abs=0.04)
        assert times.min() > 0


def test_places_of_a_step_have_numbers_of_their_own() -> None:
    one, other = (torch.stack(each) for each in zip(*(_twice(Draws(key)) for key in KEYS), strict=True))

    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 4 / 512


def _twice(draws: Draws) -> tuple[Tensor, Tensor]:
    return draws.uniform([N], torch.float32), draws.uniform([N], torch.float32)


def test_orders_and_whole_numbers_are_fair() -> None:
    orders = torch.stack([Draws(key).order(5) for key in KEYS])
    dice = torch.stack([Draws(key).whole(1, 7, [N]) for key in KEYS])

    assert torch.equal(orders.sort().values, torch.arange(5).expand(len(KEYS), 5))
    assert len({tuple(each.tolist()) for each in orders}) > 100
    shares = torch.bincount(dice.flatten()).double() / dice.numel()
    assert shares.tolist() == pytest.approx([0, *[1 / 6] * 6], abs=0.004)
