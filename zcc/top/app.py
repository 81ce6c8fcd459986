"""`zcc top` on a terminal: the farm's tables, refreshed each second, and its keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from zcc.cli.layout import fold
from zcc.errors import ConfigError
from zcc.events import FarmEvent
from zcc.logs import log_nothing
from zcc.printable import printable
from zcc.top.columns import Spans, rows_of
from zcc.top.details import details
from zcc.top.log import WatchedFarm
from zcc.top.overview import Letters, Overview, overview_of
from zcc.top.screen import LineTable, TextLines, TextPage
from zcc.top.tables import TABLES, clock, people, summary, trouble
from zcc.watching.following import FeedStanding, Heard

REFRESH_S = 1.0
_LEAST_ROWS = 4
_MOST_REASON_ROWS = 4
_KEYS = (
    ("q", "quit"), ("?", "keys"), ("/", "filter"), ("s", "sort"), ("r", "reverse"), ("Enter", "more"),
    ("p", "pause"), ("1-4", "alone"), ("0", "all"),
)  # fmt: skip
_HELP = [
    "zcc top: keys",
    "",
    "Tab, Shift-Tab  the next table, the one before",
    "1 2 3 4         nodes, builds, queue or events alone; 0: all of them",
    "up, down        a line; PgUp, PgDn, Home, End, j, k, g, G too",
    "Enter           more on this line",
    "s               sort by the next column; behind the last one as it comes",
    "r               the other way round",
    "/               filter all tables: lines that have all these words in them; Esc: all lines",
    "p, Space        hold the screen still; the farm goes on, and the screen catches up",
    "q               quit",
    "",
    "A letter in a bar is a compiler that runs, and whose; the third line says who that is, with how many"
    " jobs run and wait.",
    ":  a slot whose job still fetches what it lacks",
    ".  an idle slot",
    "-  a slot that is not lent now",
    "",
    "HITS is the share of compiles that a cache had, HERE those that ran on their own machine, FAULTS runs that"
    " the node lost by its own fault. Counts of builds begin when this began to watch.",
]

Source = Callable[[Heard, Callable[[FeedStanding], None]], Awaitable[None]]


class TopApp(App[None]):
    """Shows what `source` tells."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; overflow: hidden; }
    LineTable { height: 1fr; }
    TextLines { height: 1; }
    Input { height: 1; border: none; padding: 0; display: none; }
    Input:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("question_mark", "help", show=False),
        Binding("slash", "filter", show=False),
        Binding("escape", "clear", show=False),
        Binding("s", "sort", show=False),
        Binding("r", "reverse", show=False),
        Binding("p,space", "pause", show=False),
        *(Binding(str(at), f"only({at})", show=False) for at in range(len(TABLES) + 1)),
    ]

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._farm = WatchedFarm()
        self._letters = Letters()
        self._overview: Overview | None = None
        self.standing = FeedStanding(False, "the broker has not answered yet")
        self.is_paused = False
        self.wanted = ""

    def compose(self) -> Iterable[Widget]:
        yield TextLines("head")
        for spec in TABLES:
            yield LineTable(spec)
        yield TextLines("keys")
        yield Input(
            id="filter", placeholder="filter: user, build, node, ...", select_on_focus=False
        )

    def on_resize(self) -> None:
        self._show()

    def on_mount(self) -> None:
        self.theme = "ansi-dark"
        # What is said in lines would be written over the screen.
        log_nothing()
        keys: Spans = []
        for key, text in _KEYS:
            keys += [(key, "bold"), (f" {text} ", "")]
        self.query_one("#keys", TextLines).put([keys])
        self._show()
        self.set_interval(REFRESH_S, self._show)
        self.run_worker(self._watch(), exclusive=True)

    async def _watch(self) -> None:
        try:
            await self._source(self._heard, self._said)
        except ConfigError as error:  # a recording that is damaged behind what was told
            self._said(FeedStanding(False, str(error), is_replay=True, is_over=True))

    def _heard(self, batch: list[FarmEvent]) -> None:
        is_first = self._farm.state.farm is None
        self._farm.take(batch)
        if is_first:
            self._show()

    def _said(self, standing: FeedStanding) -> None:
        if standing != self.standing:
            self.standing = standing
            self._show()

    # ---- what is seen ------------------------------------------------------------------------------

    def _show(self) -> None:
        """The present; while it pauses, what was seen when that began."""
        if self._overview is None or not self.is_paused:
            self._overview = overview_of(self._farm, self._letters)
        if isinstance(self.screen, TextPage):
            if not self.is_paused:
                self.screen.show_now()
            return
        for each in self.query(LineTable):
            if self._farm.state.farm is not None:
                each.put(self._overview, self.wanted)
        head = self._head(self._overview)
        self.query_one("#head", TextLines).put(head)
        self._share_rows(self.size.height - len(head) - 1)

    def _share_rows(self, total: int) -> None:
        """Each table has the rows that it fills, as far as there are; the last one has the rest."""
        tables = [each for each in self.query(LineTable) if each.display]
        wanted = [max(_LEAST_ROWS, len(each.lines) + 1) for each in tables]
        for table, rows in zip(tables, rows_of(wanted, total), strict=True):
            table.styles.height = rows

    def _head(self, overview: Overview) -> list[Spans]:
        lines: list[Spans] = [
            [
                ("zcc top ", "bold"),
                (f" {overview.farm or 'no farm yet'}  ", ""),
                *self._place(overview),
            ],
            [(summary(overview), "")],
            people(overview),
        ]
        if not self.standing.is_up:
            why = ": ".join(filter(None, (self.standing.why, self.standing.advice)))
            found = fold(f"! {printable(why)}", self.size.width, "  ")
            lines += [[(line, "bold red")] for line in found[:_MOST_REASON_ROWS]]
        else:
            lines.append([(trouble(overview), "bold red")])
        return lines

    def _place(self, overview: Overview) -> Spans:
        spans: Spans = [(clock(overview.at_ms) if overview.at_ms else "", ""), ("  ", "")]
        if not self.standing.is_up:
            text = "CUT SHORT" if self.standing.is_replay else "NO ANSWER"
            spans.append((text, "bold reverse"))
        elif self.standing.is_replay:
            spans.append(("replay, at its end" if self.standing.is_over else "replay", ""))
        else:
            spans.append(("live", "green"))
        if self.is_paused:
            spans += [("  ", ""), ("PAUSED", "bold reverse")]
        table = self._table()
        if table is not None and (table.sort is not None or table.is_reversed):
            by = f" by {table.sort.title}" if table.sort is not None else ""
            spans.append(
                (f"  {table.spec.name}{by}{', reversed' if table.is_reversed else ''}", "")
            )
        if self.wanted:
            spans.append((f"  filter: {printable(self.wanted)}", "bold"))
        return spans

    def _table(self) -> LineTable | None:
        """The one that has the keys."""
        focused = self.screen_stack[0].focused if self.screen_stack else None
        return focused if isinstance(focused, LineTable) else None

    # ---- keys --------------------------------------------------------------------------------------

    def action_sort(self) -> None:
        table = self._table()
        if table is not None:
            table.sort_by_next()
            self._show()

    def action_reverse(self) -> None:
        table = self._table()
        if table is not None:
            table.is_reversed = not table.is_reversed
            self._show()

    def action_pause(self) -> None:
        self.is_paused = not self.is_paused
        self._show()

    def action_only(self, number: int) -> None:
        """The table of this number alone; 0: all."""
        for at, table in enumerate(self.query(LineTable), 1):
            table.display = number in (0, at)
            if number == at:
                table.focus()
        self._show()

    def action_help(self) -> None:
        self.push_screen(TextPage(lambda: _HELP), lambda _: self._show())

    def on_line_table_chosen(self, message: LineTable.Chosen) -> None:
        spec, line = message.spec, message.line

        def tell() -> list[str]:
            """Of the line as it is now, or as it was last."""
            nonlocal line
            rows = spec.rows(self._overview) if self._overview is not None else []
            line = next((each for each in rows if spec.name_of(each) == spec.name_of(line)), line)
            return details(line, self._farm.state)

        self.push_screen(TextPage(tell), lambda _: self._show())

    def action_filter(self) -> None:
        self.query_one("#keys", TextLines).display = False
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """No filter."""
        self.query_one("#filter", Input).value = ""
        self.wanted = ""
        self._leave_filter()

    def on_input_changed(self, message: Input.Changed) -> None:
        self.wanted = message.value.strip()
        self._show()

    def on_input_submitted(self) -> None:
        self._leave_filter()

    def _leave_filter(self) -> None:
        field = self.query_one("#filter", Input)
        if field.display:
            field.display = False
            self.query_one("#keys", TextLines).display = True
            shown = next(each for each in self.query(LineTable) if each.display)
            shown.focus()
        self._show()
