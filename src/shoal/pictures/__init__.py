"""Charts as plain values, and how they are drawn. Nothing here knows torch, and the values do not know matplotlib."""

from shoal.pictures.chart import (
    Band,
    Bars,
    Chart,
    Confusion,
    Dots,
    ErrorBars,
    Level,
    Line,
    Mark,
    Panel,
)

__all__ = ["Band", "Bars", "Chart", "Confusion", "Dots", "ErrorBars", "Level", "Line", "Mark", "Panel"]
