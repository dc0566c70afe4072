"""Modules whose steps take derivatives by `torch.autograd.grad`, or have ones of their own, stack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function, grad

from beside_lightning import is_as_alone, trained
from derivatives import Reversal
from styled import Style

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


class Oscillates(Style):
    """Solves u'' + u = 0 with u(0) = 1, the residual weighed by the epoch; its validation looks at u'."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0].requires_grad_()
        u = self.layers(x)
        du = grad(u.sum(), x, create_graph=True)[0]
        ddu = grad(du, x, grad_outputs=torch.ones_like(du), create_graph=True)[0]
        residual = (ddu + u).square().mean()
        self.log("residual", residual, on_step=False, on_epoch=True)
        return (1 + self.current_epoch) * residual + (self.layers(torch.zeros_like(x[:1])) - 1).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        with torch.enable_grad():
            x = batch[0].clone().requires_grad_()
            slope = grad(self.layers(x).sum(), x)[0]
        self.log("val_loss", slope.square().mean())


class Penalized(Style):
    """Has a penalty of the size of its gradient between two samples, which lie at random there."""

    def penalty(self) -> Tensor:
        x = torch.rand(6, 1, dtype=self.layers[0].weight.dtype).requires_grad_(True)
        found = grad(self.layers(x).sum(), x, create_graph=True, retain_graph=True)[0]
        return 0.1 * ((found.norm(2, dim=1) - 1) ** 2).mean()


class Binarized(Function):
    """Draws ones and zeros, and lets the gradient through where it is small."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.bernoulli(torch.sigmoid(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        found = grads[0].clone()
        found[ctx.saved_tensors[0].abs() > 1] = 0
        return found


binarized = Binarized.apply


class Adversarial(Style):
    """Has a head that its other layers are trained against, the more the later it is."""

    def made(self) -> None:
        self.head = nn.Linear(self.layers[-1].out_features, 1)

    def penalty(self) -> Tensor:
        x = torch.linspace(-1, 1, 6, dtype=self.layers[0].weight.dtype)[:, None]
        against = Reversal.apply(self.layers(x), 0.1 * (1 + self.current_epoch))  # type: ignore[no-untyped-call]
        return (self.head(against) - x).square().mean()


class Spiking(Style):
    """Has a penalty of what it draws."""

    def penalty(self) -> Tensor:
        x = torch.linspace(-1, 1, 6, dtype=self.layers[0].weight.dtype)[:, None]
        return (binarized(self.layers(x)) - 0.5 * x).square().mean()


def test_a_run_with_a_gradient_reversal_is_as_it_is_alone() -> None:
    running = is_as_alone(Adversarial)

    assert running.steps.train.refused is None


@pytest.mark.parametrize("kind", [Adversarial, Spiking])
def test_derivatives_by_hand_have_the_bits_of_the_run_by_itself(kind: type[Style]) -> None:
    same_bits_by_itself(kind)


def test_a_run_whose_residual_is_made_of_derivatives_is_as_it_is_alone() -> None:
    running = is_as_alone(Oscillates)

    assert (running.steps.train.refused, running.steps.val.refused) == (None, None)


def test_a_gradient_penalty_has_the_bits_of_the_run_by_itself() -> None:
    same_bits_by_itself(Penalized)


def same_bits_by_itself(kind: type[Style]) -> None:
    running, _ = trained(kind, (0, 1, 2))
    single, _ = trained(kind, (2,))

    found, itself = running.checkpoint(2)["state_dict"], single.checkpoint(0)["state_dict"]
    assert all(torch.equal(found[name], value) for name, value in itself.items())
    assert running.steps.train.refused is None
