"""Predators and their prey, as Lotka (1925) and Volterra (1926) have them: a function for `model.code`."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from shoal.models.integration import integrated


def lotka_volterra(
    year: Float[Tensor, " samples"],
    *,
    alpha: Tensor,
    beta: Tensor,
    gamma: Tensor,
    delta: Tensor,
    prey: Tensor,
    predators: Tensor,
) -> Float[Tensor, "samples 2"]:
    """The logarithms of the populations of prey and of predators, which are `prey` and `predators` in the first year.

    Prey multiply at a rate of `alpha` a year less `beta` for each predator; predators die at a rate of `gamma` less
    `delta` for each of their prey.
    """

    def rates(time: Tensor, hares: Tensor, lynxes: Tensor) -> Sequence[Tensor]:
        del time
        return (alpha - beta * lynxes) * hares, (delta * hares - gamma) * lynxes

    return integrated(rates, (prey, predators), year).log()
