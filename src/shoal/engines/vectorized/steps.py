"""The steps of runs of one kind, mapped over stacks: every stack of such runs is served by the same programs."""

from __future__ import annotations

from shoal.engines.stack.update import Update
from shoal.engines.step.captured import CapturedStep
from shoal.engines.step.compiled.program import Heat
from shoal.engines.step.exact.guard import Guard
from shoal.engines.step.logged import Stage
from shoal.engines.step.mapped import Mapped
from shoal.engines.vectorized.member import Member


class Steps:
    """The training and the validation step of one run, which stand for those of all that can share its stack."""

    def __init__(self, template: Member, *, accumulate: int) -> None:
        """The gradients of `accumulate` batches are added up."""
        keeps = bool(template.job.task.metric_names)
        self.captured: dict[Stage, CapturedStep] = {
            "train": CapturedStep(template.module, "train"),
            "val": CapturedStep(template.module, "val", keeps=keeps),
        }
        heat = Heat()
        self.guard = Guard()
        self.train = Mapped(self.captured["train"], share=1 / accumulate, heat=heat, guard=self.guard)
        self.val = Mapped(self.captured["val"], gradients=False, heat=heat, guard=self.guard)
        self.update = Update(heat, self.guard)
