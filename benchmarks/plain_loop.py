"""The parabola as a notebook trains it in plain PyTorch: the yardstick of the other programs here.

Prints log10 of the training and the validation error every ten epochs. `--figure` draws the fit.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def samples(n: int, noise: float) -> TensorDataset:
    """Pairs (x, x^2 + noise) with x uniform in [-1, 1]."""
    x = 2 * torch.rand(n, 1) - 1
    return TensorDataset(x, x**2 + noise * torch.randn(n, 1))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[tuple[Tensor, ...]]) -> float:
    """One epoch; the mean of the batches' losses."""
    model.train()
    total = 0.0
    for x, y in batches:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(batches)


@torch.no_grad()
def validate(model: nn.Module, batches: DataLoader[tuple[Tensor, ...]]) -> float:
    """The mean of the batches' losses."""
    model.eval()
    return sum(nn.functional.mse_loss(model(x), y).item() for x, y in batches) / len(batches)


def draw(model: nn.Module, data: TensorDataset) -> None:
    """The samples, the true function and the model's, in plain_loop.png."""
    import matplotlib.pyplot as plt

    x = torch.linspace(-1, 1, 200)[:, None]
    plt.scatter(data.tensors[0], data.tensors[1], s=2, label="data")
    plt.plot(x, x**2, "k--", label="true")
    plt.plot(x, model(x).detach(), "r", label="prediction")
    plt.legend()
    plt.savefig("plain_loop.png")


def main() -> None:
    """Train for `--epochs` epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--figure", action="store_true", help="draw the fit into plain_loop.png")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    data = samples(2048, 0.03)
    training, validation = random_split(data, [0.8, 0.2])
    training_batches = DataLoader(training, batch_size=128, shuffle=True)
    validation_batches = DataLoader(validation, batch_size=256)
    model = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for epoch in range(arguments.epochs):
        errors = torch.tensor([train(model, optimizer, training_batches), validate(model, validation_batches)])
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:4}: log10 MSE train {errors.log10()[0]:.3f} val {errors.log10()[1]:.3f}")
    print(f"fit seconds: {time.perf_counter() - started:.3f}")
    if arguments.figure:
        draw(model, data)


if __name__ == "__main__":
    main()
