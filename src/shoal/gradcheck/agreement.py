"""Whether derivatives are right, of all that is checked here."""

from __future__ import annotations

from abc import ABC, abstractmethod

from shoal.errors import ExitCode


class Agreement(ABC):
    """What a check of derivatives has found: whether those that were compared agree."""

    @property
    @abstractmethod
    def agrees(self) -> bool:
        """Whether all of them are right."""

    @property
    def exit_code(self) -> ExitCode:
        """What a process that checks them returns."""
        return ExitCode.OK if self.agrees else ExitCode.FAILED
