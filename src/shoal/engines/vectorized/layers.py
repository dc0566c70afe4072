"""The table of a model's layers, where a stack's runs ask for it."""

from __future__ import annotations

import logging

from pytorch_lightning.utilities.model_summary.model_summary import summarize

from shoal.engines.vectorized.member import Member
from shoal.step.step_trainer import switch

log = logging.getLogger(__name__)


def log_layers(member: Member) -> None:
    """Put it into the log, as Lightning does where it trains the run."""
    if member.job.trainer.get("enable_model_summary"):
        switch(member.module, training=True)
        log.info("\n%s", summarize(member.module))
