"""The steps of runs of one kind, mapped over stacks: every stack of such runs is served by the same programs."""

from __future__ import annotations

from typing import Any

from torch import nn

from shoal.engines.stack.epoch import Training
from shoal.engines.stack.run_optimizer import RunOptimizer
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.training_by_hand import TrainingByHand
from shoal.engines.stack.update import Update
from shoal.engines.vectorized.member import Member
from shoal.step.by_hand import ByHandStep
from shoal.step.captured import CapturedStep
from shoal.step.compiled.program import Heat
from shoal.step.exact.guard import Guard
from shoal.step.logged import Stage
from shoal.step.mapped import Mapped
from shoal.step.scripted import Scripted
from shoal.tasks.precision import is_mixed


class Steps:
    """The training and the validation step of one run, which stand for those of all that can share its stack."""

    def __init__(self, template: Member, *, accumulate: int) -> None:
        """The gradients of `accumulate` batches are added up."""
        job, keeps = template.job, bool(template.job.task.metric_names)
        precision: dict[str, Any] = {"mixed": is_mixed(job.trainer), "double": job.double}
        self.captured: dict[Stage, CapturedStep] = {
            "train": training_step(template, **precision),
            "val": CapturedStep(template.module, "val", keeps=keeps, **precision),
        }
        # What one of them leaves, the other must not look at.
        self.captured["val"].left = self.captured["train"].left
        training, validation = (each.fills.metrics for each in self.captured.values())
        training.others, validation.others = validation, training
        # One for all three: the update alone takes so little time that it would be compiled seconds later.
        heat = Heat()
        self.guard = Guard()
        shared: dict[str, Any] = {"heat": heat, "guard": self.guard, "double": job.double}
        own = self.captured["train"]
        self.train: Mapped | Scripted = (
            Scripted(own, **shared) if isinstance(own, ByHandStep) else Mapped(own, share=1 / accumulate, **shared)
        )
        self.val = Mapped(self.captured["val"], gradients=False, **shared)
        self.update = Update(heat, self.guard)

    def training(self, stack: Stack, accumulate: int = 1, **settings: Any) -> Training:
        """What trains a stack by them."""
        if isinstance(self.train, Scripted):
            return TrainingByHand(stack, self.train, self.update)
        return Training(stack, self.train, self.update, accumulate, **settings)

    @property
    def hooked(self) -> frozenset[str]:
        """Attributes of a module that hooks change."""
        return self.captured["train"].hooked

    def follow(self, module: nn.Module, names: frozenset[str], agreed: frozenset[str]) -> None:
        """Take these attributes to be as they are in `module`, which a run of the stack trains.

        A step may look at those that are `agreed`; one that does is another step from now on.
        """
        template, own = self.captured["train"].module, vars(module)
        for name in names - own.keys():
            vars(template).pop(name, None)
        vars(template).update({name: own[name] for name in names if name in own})
        # What was traced has taken these attributes for constants.
        if names != self.hooked:
            self.forget()
        for each in self.captured.values():
            each.hooked, each.agreed = names, agreed
            each.fills.hooked = frozenset(name for name in names if type(own.get(name)) is list)

    def forget(self) -> None:
        """Trace both anew: something that they follow has changed since."""
        for mapped in (self.train, self.val):
            mapped.forget()


def training_step(member: Member, **precision: Any) -> CapturedStep:
    """The training step of a run, whose optimizer is made where it optimizes by hand."""
    own, module = member.trainer.rate, member.module
    if module.automatic_optimization or not isinstance(own, RunOptimizer):
        return CapturedStep(module, "train", **precision)
    step = ByHandStep(module, "train", **precision)
    step.names = own.names_by_hand
    step.kinds = [type(each) for each in own.each], [type(each.scheduler) for each in own.scheduled]
    return step
