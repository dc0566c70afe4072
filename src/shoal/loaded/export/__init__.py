"""A trained model in a form that other programs read, checked to predict the same."""

from shoal.loaded.export.exporting import Exported, export
from shoal.loaded.export.formats import SUFFIXES, Format

__all__ = ["SUFFIXES", "Exported", "Format", "export"]
