"""Tables as wide as the terminal: columns shrink, then go, so that a row always stays on its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style

_GAP = 2
_LEAST = 20


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """A column of printable cells."""

    title: str
    cells: Sequence[str]
    right: bool = False
    """Numbers stand flush right."""
    shrinks: bool = False
    """Long cells may be cut, at the end, with an ellipsis."""
    rank: int = 0
    """Where there is no room for all columns, those of the highest rank go first; rank 0 stays."""
    style: Callable[[str], str] | None = None
    """The style of a cell, by its text."""


def console() -> Console:
    """The terminal, or whatever else standard output is; NO_COLOR, TERM and COLUMNS are respected."""
    # Nothing in a text is rich's to interpret: notes and metrics may hold brackets.
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def status_style(status: str) -> str:
    """The color of a status."""
    word = status.split()[0] if status else ""
    styles = {"completed": "green", "running": "cyan", "interrupted": "yellow", "lost": "yellow", "pending": "dim"}
    return styles.get(word, "" if word == "unknown" else "bold red")


def write_table(screen: Console, columns: Sequence[TableColumn]) -> None:
    """Print the columns side by side under their titles."""
    columns, widths = fitted(columns, screen.width)
    color = screen.color_system is not None and not screen.no_color
    lines = [_line([column.title for column in columns], columns, widths, ["bold"] * len(columns), color)]
    for row in zip(*(column.cells for column in columns), strict=True):
        styles = [column.style(cell) if column.style else "" for cell, column in zip(row, columns, strict=True)]
        lines.append(_line(row, columns, widths, styles, color))
    screen.file.write("\n".join(lines) + "\n")


def fitted(columns: Sequence[TableColumn], width: int) -> tuple[list[TableColumn], list[int]]:
    """The columns that there is room for, and the width of each."""
    # An empty column takes room from the others.
    columns = [column for column in columns if column.title in ("ID", "RUN") or any(column.cells)]
    widths = {id(column): max(map(_width, (column.title, *column.cells))) for column in columns}
    least = {
        id(column): min(widths[id(column)], max(_LEAST, _width(column.title))) if column.shrinks else widths[id(column)]
        for column in columns
    }
    while sum(least[id(column)] + _GAP for column in columns) - _GAP > width:
        last = max(columns, key=lambda column: column.rank)
        if last.rank == 0:
            break
        columns.remove(last)
    excess = sum(widths[id(column)] + _GAP for column in columns) - _GAP - width
    # The widest first: it can spare most.
    for column in sorted(columns, key=lambda column: -widths[id(column)]):
        if column.shrinks and excess > 0:
            cut = min(excess, widths[id(column)] - least[id(column)])
            widths[id(column)] -= cut
            excess -= cut
    return columns, [widths[id(column)] for column in columns]


def _line(
    cells: Sequence[str], columns: Sequence[TableColumn], widths: list[int], styles: list[str], color: bool
) -> str:
    parts = []
    for cell, column, width, style in zip(cells, columns, widths, styles, strict=True):
        text = _sized(cell, width, right=column.right)
        parts.append(_parsed(style).render(text) if color and style and text.strip() else text)
    return (" " * _GAP).join(parts).rstrip()


def _parsed(style: str) -> Style:
    return Style.parse(style)


def _sized(text: str, width: int, *, right: bool) -> str:
    length = _width(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if right else text + " " * (width - length)


def _width(text: str) -> int:
    # Most texts are ASCII, for which it is far quicker.
    return len(text) if text.isascii() else cell_len(text)
