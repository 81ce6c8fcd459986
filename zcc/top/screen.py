"""The parts of `zcc top`'s screen: tables of lines, and texts. They draw their cells themselves.

No text goes through markup: a name in brackets is a name in brackets. All attributes are the terminal's own
(bold, reverse, its palette), so a terminal without colour shows the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from zcc.cli.layout import fold
from zcc.top.columns import Column, Spans, TableOf, fit
from zcc.top.overview import Overview


def fitted(spans: Spans, cells: int, *, is_right: bool = False) -> Spans:
    """The text in just so many cells: what is longer is cut, what is shorter filled up."""
    found: Spans = []
    for text, style in spans:
        size = min(cell_len(text), cells)
        found.append((set_cell_size(text, size), style))
        cells -= size
    filling = (" " * cells, "")
    return [filling, *found] if is_right else [*found, filling]


def strip_of(spans: Spans, width: int, base: str = "", *, has_colour: bool) -> Strip:
    """A line of just so many cells, each in the style `base` and its own."""
    segments = []
    for text, style in fitted(spans, width):
        said = Style.parse(f"{style} {base}".strip())
        segments.append(Segment(text, said if has_colour else said.without_color))
    return Strip(segments, width)


class TextLines(Widget):
    """Lines, the first ones first; as high as they are many."""

    def __init__(self, name_of: str) -> None:
        super().__init__(id=name_of)
        self._lines: list[Spans] = []

    def put(self, lines: list[Spans]) -> None:
        if lines != self._lines:
            self._lines = lines
            self.styles.height = len(lines)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else []
        return strip_of(line, self.size.width, has_colour=not self.app.no_color)


class LineTable(Widget, can_focus=True):
    """One of the tables. The cursor stays on its line as lines move; in the first place it stays there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "go(0)", show=False),
        Binding("end,G", "go(-1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        """Enter was pressed on a line."""

        def __init__(self, spec: TableOf, line: Any) -> None:
            super().__init__()
            self.spec, self.line = spec, line

    def __init__(self, spec: TableOf) -> None:
        super().__init__(id=spec.name)
        self.spec = spec
        self.sort: Column | None = None
        self.is_reversed = False
        self.lines: list[Any] = []
        self.place = 0
        self._first = 0
        self._overview: Overview | None = None
        self._nothing = ""

    def put(self, overview: Overview, wanted: str) -> None:
        kept = self.spec.name_of(self.lines[self.place]) if self.place and self.lines else ""
        self.lines = self.spec.lines(overview, self.sort, self.is_reversed, wanted)
        self._overview = overview
        is_filtered = not self.lines and bool(self.spec.rows(overview))
        self._nothing = "none is like that: Esc shows all" if is_filtered else self.spec.empty
        if self.lines:
            self._nothing = ""
        if kept:
            names = [self.spec.name_of(line) for line in self.lines]
            self.place = names.index(kept) if kept in names else self.place
        self._settle()

    def sort_by_next(self) -> None:
        """The next of the columns that are shown; behind the last one the table's own order."""
        shown = [column for column, _ in fit(self.spec.columns, self.size.width)]
        at = shown.index(self.sort) + 1 if self.sort in shown else 0
        self.sort = shown[at] if at < len(shown) else None
        self.is_reversed = False

    def action_move(self, by: int) -> None:
        self.place += by
        self._settle()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 1))

    def action_go(self, place: int) -> None:
        self.place = place if place >= 0 else len(self.lines) - 1
        self._settle()

    def action_choose(self) -> None:
        if self.lines:
            self.post_message(self.Chosen(self.spec, self.lines[self.place]))

    def on_click(self, event: events.Click) -> None:
        at = self._first + event.y - 1
        if event.y > 0 and at < len(self.lines):
            self.place = at
            self._settle()

    def on_resize(self) -> None:
        self._settle()

    def _settle(self) -> None:
        """The cursor is on a line, and that one is seen."""
        self.place = min(max(0, self.place), max(0, len(self.lines) - 1))
        rows = max(1, self.size.height - 1)
        self._first = min(max(self._first, self.place - rows + 1), self.place)
        self._first = max(0, min(self._first, len(self.lines) - rows))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        columns = fit(self.spec.columns, width)
        if y == 0:
            return self._header(columns, width)
        at = self._first + y - 1
        if at >= len(self.lines) or self._overview is None:
            return self._strip([(f"  {self._nothing}" if y == 1 else "", "dim")], width)
        cells: Spans = []
        for column, wide in columns:
            spans = column.cell(self.lines[at], wide, self._overview)
            cells += fitted(spans, wide, is_right=column.is_right)
            cells.append((" ", ""))
        is_chosen = at == self.place and self.has_focus
        return self._strip(cells, width, "reverse" if is_chosen else "")

    def _header(self, columns: list[tuple[Column, int]], width: int) -> Strip:
        cells: Spans = []
        below = len(self.lines) - self._first - max(0, self.size.height - 1)
        for column, wide in columns:
            text = column.title[:wide]
            if column.grows and below > 0:
                text, below = f"{text} +{below}"[:wide], 0
            mark = "underline" if column is self.sort else ""
            room = " " * (wide - len(text))
            cells += [(room, ""), (text, mark)] if column.is_right else [(text, mark), (room, "")]
            cells.append((" ", ""))
        return self._strip(cells, width, "bold reverse" if self.has_focus else "bold")

    def _strip(self, spans: Spans, width: int, base: str = "") -> Strip:
        return strip_of(spans, width, base, has_colour=not self.app.no_color)


class TextPage(Screen[None]):
    """A text over the whole screen, told anew each time that it is shown, until a key closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "close", show=False),
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown,space", "move(10)", show=False),
    ]

    def __init__(self, tell: Callable[[], list[str]]) -> None:
        super().__init__()
        self._tell = tell
        self._first = 0

    def compose(self) -> Iterable[Widget]:
        yield TextLines("reading")

    def on_resize(self) -> None:
        self.show_now()

    def action_move(self, by: int) -> None:
        self._first += by
        self.show_now()

    def action_close(self) -> None:
        self.dismiss()

    def show_now(self) -> None:
        width, height = self.app.size
        room = max(1, height - 1)
        title, *text = self._tell()
        lines = [each for line in text for each in fold(line, width)]
        self._first = max(0, min(self._first, len(lines) - room + 1))
        shown = lines[self._first : self._first + room - 1]
        keys = "Esc back   up, down, PgUp, PgDn" if len(lines) > room - 1 else "Esc back"
        styled: list[Spans] = [[(title, "bold")], *([(line, "")] for line in shown)]
        styled += [[] for _ in range(room - len(styled))]
        self.query_one(TextLines).put([*styled, [(keys, "reverse")]])
