"""The LightningModule that fits a model to a task's samples."""

from __future__ import annotations

import math
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shoal.losses import Loss, LossFunction
from shoal.models import FormulaNetwork
from shoal.models.dropout import keyed
from shoal.names import TEST_LOSS, TRAIN_LOSS, VAL_LOSS
from shoal.optimizers import Optimizer, Solver, Stopping
from shoal.schedulers import Horizon, Scheduler, scheduled
from shoal.tasks.announce import announce
from shoal.tasks.formula_problem import FormulaProblem
from shoal.tasks.residuals import problem_of
from shoal.tasks.task import Task


class Supervised(pl.LightningModule):
    """Minimises the loss of the model's outputs against the targets, batch by batch."""

    logs_means: ClassVar[bool] = True
    """Whether what is logged with a batch size becomes the mean over the epoch, also in training."""

    def __init__(
        self, *, model: nn.Module, task: Task, loss: LossFunction, optimizer: Optimizer, scheduler: Scheduler, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.seed = seed
        self._evaluated = False
        """Whether the loss of this step was logged: an optimizer may evaluate it more than once."""
        self.logs_steps = False
        """Whether metrics of single steps are logged too, as `NAME_step`, every `trainer.log_every_n_steps` steps."""
        self._observes = type(task).observe is not Task.observe
        """Whether the loss sees something else than the outputs."""
        self._measures = bool(task.metric_names)
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._sums: dict[str, dict[str, tuple[Tensor, int]]] = {"train": {}, "val": {}}
        # For solvers, which need the residuals of the very batch that the loss was of.
        self._batch: tuple[Tensor, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, past PyTorch's search for parameters where Lightning notes the hook, fifty times a step."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """What the loss sees of the model's outputs for inputs `x` of shape (batch, features)."""
        outputs = cast(Tensor, self.model(x))
        # Else no step looks at the task: then runs of whatever folds do the same beside giving numbers.
        return self.task.observe(outputs) if self._observes else outputs

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of one batch (x, y), or (x, y, weight)."""
        del batch_idx
        x, *targets = batch
        loss = self.measured(self(x), *targets)
        if not self._evaluated:
            self.log(TRAIN_LOSS, loss, batch_size=len(x))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take note that the step's loss is known: it is the one before the weights change."""
        del optimizer
        self._evaluated = True

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Log the loss of one batch of the validation samples; its outputs."""
        del batch_idx
        return self._judged(batch, VAL_LOSS)

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The same for the samples of the test part."""
        del batch_idx
        return self._judged(batch, TEST_LOSS)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The model's outputs for one batch."""
        del batch_idx
        return cast(Tensor, self.model(batch[0]))

    def log(self, name: str, value: Any, *args: Any, batch_size: int | None = None, **kwargs: Any) -> None:
        """Lightning's `log`; but a value of a batch goes into a sum, and Lightning sees its mean once an epoch.

        That costs a tenth of what Lightning's own mean over an epoch does at every step.
        """
        if batch_size is None:
            super().log(name, value, *args, **kwargs)
            return
        sums = self._sums["train" if self.training else "val"]
        # In float64: a sum over thousands of batches would lose digits.
        total, n = sums.get(name, (0.0, 0))
        sums[name] = (total + torch.as_tensor(value).detach().double() * batch_size, n + batch_size)
        if self.logs_steps and self.training:
            super().log(f"{name}_step", value, on_step=True, on_epoch=False)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Key the dropout of this step."""
        self._batch, self._evaluated = batch, False
        # By the epoch and the batch, not by the step: a resumed run finds the same key.
        keyed(self.model, self.seed, self.current_epoch, batch_idx)

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Keep the outputs, where the task has measures of all of them."""
        del batch_idx, dataloader_idx
        if self._measures:
            # Of all samples at once: a mean of R2 or AUC over batches would be another number.
            self._seen.append((outputs, batch[1]))

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation samples, and the task's own measures; of a mere check of them nothing."""
        self.tell_judged("val")

    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self) -> None:
        """The same for the samples of the test part."""
        self.tell_judged("test")

    def _judged(self, batch: tuple[Tensor, ...], name: str) -> Tensor:
        x, *targets = batch
        outputs = cast(Tensor, self(x))
        self.log(name, self.measured(outputs, *targets), batch_size=len(x))
        return outputs

    def measured(self, outputs: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of outputs for the targets `y`, each sample counting as much as its weight."""
        return self.loss(outputs, y) if weight is None else cast(Loss, self.loss).weighted(outputs, y, weight)

    def tell_judged(self, part: str) -> None:
        """Log the measures of this part of the samples, unless they have been logged."""
        seen, self._seen = self._seen, []
        if self.trainer.sanity_checking:
            self._sums["val"] = {}
            return
        self.tell_means("val")
        if seen:
            outputs, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
            metrics = self.task.metrics(outputs.cpu(), targets.cpu())
            announce(self.trainer, {f"{part}/{name}": value for name, value in metrics.items()})

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch, and what the task records beside the loss."""
        self.tell_means("train")
        announce(self.trainer, self.recorded())
        # Lightning has no other way for an optimizer to say that it is done.
        if any(isinstance(each, Stopping) and each.stopped for each in self.trainer.optimizers):
            self.trainer.should_stop = True

    def recorded(self) -> dict[str, float]:
        """The values logged after each epoch beside the loss: parameters of a formula, what the task asks for."""
        of_model = self.model.recorded() if isinstance(self.model, FormulaNetwork) else {}
        return {
            name: float(value.detach()) for name, value in (of_model | dict(self.task.recorded(self.model))).items()
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of an epoch that is under way."""
        checkpoint["sums"] = {name: list(total) for name, total in self._sums["train"].items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the sums of an epoch that is under way."""
        self._sums["train"] = {name: (total, n) for name, (total, n) in checkpoint["sums"].items()}

    def tell_means(self, stage: str) -> None:
        """Log the means of this stage, unless they have been logged."""
        sums, self._sums[stage] = self._sums[stage], {}
        # The mean over processes, which all have equally many samples (`Batches.shard`).
        means = {name: float(self.trainer.strategy.reduce(total / n)) for name, (total, n) in sums.items()}
        if means:
            announce(self.trainer, means)

    def configure_optimizers(self) -> Any:
        """The optimizer and the scheduler that the configuration names."""
        made = configured(self, self.model, self.optimizer, self.scheduler)
        if isinstance(made["optimizer"], Solver):
            # An optimizer is given gradients only, and this one needs residuals.
            made["optimizer"].problem = self._problem
        return made

    def _problem(self) -> FormulaProblem:
        """The residuals of the batch that the last step was given, in two equal rows."""
        assert isinstance(self.model, FormulaNetwork)
        # A single row would be summed by other kernels than rows in a stack are.
        twice = [each[None].repeat(2, *[1] * each.dim()) for each in self._batch]
        fixed = {name: each[None].repeat(2, *[1] * each.dim()) for name, each in self.model.named_buffers()}
        return problem_of(self.model, cast(Loss, self.loss), twice, dict(self.model.named_parameters()), fixed)


def configured(module: pl.LightningModule, network: nn.Module, optimizer: Optimizer, scheduler: Scheduler) -> Any:
    """What `configure_optimizers` of a module that is about to train gives for this optimizer and scheduler."""
    return scheduled(optimizer.of(network), scheduler, horizon(module.trainer))


def horizon(trainer: pl.Trainer) -> Horizon:
    """How long a Trainer will train if nothing stops it."""
    trainer.fit_loop.setup_data()  # which otherwise comes after the optimizer is made
    n_batches = trainer.num_training_batches
    # A last step of fewer batches counts as well.
    per_epoch = None if math.isinf(n_batches) else math.ceil(n_batches / trainer.accumulate_grad_batches)
    return Horizon.of(max_epochs=trainer.max_epochs, max_steps=trainer.max_steps, steps_per_epoch=per_epoch)
