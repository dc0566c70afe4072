"""Checks of a job's model: its gradients, its graph, its checkpoint, the devices that it trains on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Gt
from torch import Tensor, nn

from shoal import gradcheck
from shoal.build.checked_job import job
from shoal.checks.calculus import GRAPHS
from shoal.checks.check import CheckOfJob, Measured, Occasion
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.errors import ConfigError, brief
from shoal.record.checkpoints.checkpoint_file import load
from shoal.record.run_training import train
from shoal.tasks import Supervised


@dataclass(frozen=True, kw_only=True)
class LossGradient(CheckOfJob):
    """The gradient of the job's loss by every parameter and by the inputs, against finite differences."""

    tolerance: Annotated[float, Gt(0)] = 1e-5
    """Difference allowed, relative to the norm of the gradient."""

    def measure(self, occasion: Occasion) -> Measured:
        return self.of(_job(occasion.config))

    def of(self, built: Job) -> Measured:
        """What there is to find in a job."""
        found = self.found(built)
        wrong = [each for each in found.tensors if not each.agrees]
        row = {
            "loss": found.loss,
            "gradients": float(len(found.tensors)),
            "wrong gradients": float(len(wrong)),
            "wrong modules": float(len(found.culprits)),
            "largest disagreement": found.largest_disagreement,
            "graph/evaluation": float(found.graph_in_evaluation),
        }
        return Measured(rows=[row], text=found.text(), agrees=found.agrees)

    def found(self, built: Job) -> gradcheck.LossCheck:
        """The comparison itself, before it is put into a row."""
        samples = built.data.train
        module = built.module()
        loss = None if built.own_module else built.loss  # its training_step computes it
        return gradcheck.check_loss(module, (samples.x, samples.y), loss, tolerance=self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Graph(CheckOfJob):
    """Whether the job's model records a graph: in training, under evaluation, after detach."""

    def measure(self, occasion: Occasion) -> Measured:
        built = _job(occasion.config)
        module, x = built.module(), built.data.train.x
        # Not within `no_grad`, whose effect is what the next line shows.
        trained = module.train()(x)
        with torch.no_grad():
            evaluated = module.eval()(x)
        recorded = [each.requires_grad for each in (trained, evaluated, trained.detach())]
        row = {f"graph/{name}": float(is_there) for name, is_there in zip(GRAPHS, recorded, strict=True)}
        lines = [f"requires_grad of outputs, {name}: {bool(value)}" for name, value in row.items()]
        return Measured(rows=[row], text="\n".join(lines), agrees=recorded == [True, False, False])


@dataclass(frozen=True, kw_only=True)
class Reload(CheckOfJob):
    """Train the job; predictions of a new model with the saved weights, and of the run loaded with its configuration.

    Both are compared, bit for bit, with those of the model that was trained.
    """

    def measure(self, occasion: Occasion) -> Measured:
        from shoal.loaded.run import Run

        run = occasion.run
        # Without the check the configuration is one of a training: loading the run must not check again.
        plain = {**occasion.config, "check": None, "expect": None}
        built = _job(plain)
        keep = _Keep()
        info = train(replace(built, callbacks={**built.callbacks, "keep": keep}), run, occasion.info)
        # Of another seed: by the same one its weights would be right without being loaded.
        another = replace(built, seed=built.seed + 1).module()
        drawn = _outputs(another, built)
        another.load_state_dict(load(run.last)["state_dict"])
        whole = Run(run.path).module("last")
        row = {
            "changed by loading": float((_outputs(another, built) - drawn).abs().max()),
            "weights/difference": _difference(keep.module, another, built),
            "run/difference": _difference(keep.module, whole, built),
        }
        # That loading changed the predictions shows that there was something to load.
        same = row["weights/difference"] == row["run/difference"] == 0 != row["changed by loading"]
        lines = [f"{name}: {value:.3g}" for name, value in row.items()]
        return Measured(rows=[row], text="\n".join(lines), agrees=same, info=info)


@dataclass(frozen=True, kw_only=True)
class Devices(CheckOfJob):
    """Train the job on the CPU and on a GPU; where there is none, that asking for one is refused in words."""

    tolerance: Annotated[float, Gt(0)] = 1e-3
    """Relative difference allowed between the losses on the two."""

    def measure(self, occasion: Occasion) -> Measured:
        there = torch.cuda.is_available() or torch.backends.mps.is_available()
        losses = {"cpu": _trained_on("cpu", occasion.config)}
        if there:
            losses["gpu"] = _trained_on("gpu", occasion.config)
            agrees = abs(losses["gpu"] - losses["cpu"]) <= self.tolerance * losses["cpu"]
            text = f"trained on both: loss {losses['cpu']:.6g} on the CPU, {losses['gpu']:.6g} on the GPU"
        else:
            refusal = _refusal(occasion.config)
            agrees = refusal is not None
            text = f"trained on the CPU: loss {losses['cpu']:.6g}\nnote: the GPU half was not run: {_why_none()}\n"
            text += f"asked for a GPU: {refusal or 'NOT REFUSED'}"
        row = {f"{name}/loss": loss for name, loss in losses.items()} | {"gpu is there": float(there)}
        return Measured(rows=[row], text=text, agrees=agrees)


class _Keep(pl.Callback):
    """Keeps the module as the training left it."""

    module: nn.Module

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy it before anything else happens to it."""
        import copy

        self.module = Supervised(
            model=copy.deepcopy(pl_module.model),  # type: ignore[arg-type]
            **{name: getattr(pl_module, name) for name in ("task", "loss", "optimizer", "scheduler", "seed")},
        )


def _job(config: Mapping[str, Any]) -> Job:
    """The job that a check is about; what the check itself expects is not about its history."""
    return job({**config, "check": None, "expect": None})


def _outputs(module: nn.Module, built: Job) -> Tensor:
    samples = built.data.val or built.data.train
    with torch.no_grad():
        outputs: Tensor = module.eval()(samples.x)
    return outputs


def _difference(trained: nn.Module, again: nn.Module, built: Job) -> float:
    return float((_outputs(trained, built) - _outputs(again, built)).abs().max())


def _trained_on(accelerator: str, config: Mapping[str, Any]) -> float:
    """The training loss after training on a device."""
    built = _job({**config, "trainer": {**config["trainer"], "accelerator": accelerator, "devices": 1}})
    module = built.module()
    lightning.fit(built, module)
    samples = built.data.train
    with torch.no_grad():
        # Both losses are computed on the CPU: what differs is the training.
        return float(built.loss(module.cpu().eval()(samples.x.cpu()), samples.y.cpu()))


def _why_none() -> str:
    if torch.version.cuda is None:
        return f"this PyTorch ({torch.__version__}) is built without CUDA"
    return f"PyTorch {torch.__version__} finds no GPU in this machine"


def _refusal(config: Mapping[str, Any]) -> str | None:
    try:
        _job({**config, "trainer": {**config["trainer"], "accelerator": "gpu"}})
    except ConfigError as error:
        return brief(error)
    return None
