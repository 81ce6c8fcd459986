"""`zcc top`'s screen, driven by Textual's pilot over a recording."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.support import small_farm
from tests.support.recordings import write_recording
from zcc.events import FarmEvent
from zcc.top.app import TopApp
from zcc.top.screen import LineTable, TextPage
from zcc.watching.following import FeedStanding, Heard, replay
from zcc.watching.recording import read_recording

Said = Callable[[FeedStanding], None]
Steps = Callable[[Pilot[None], TopApp], Awaitable[None]]
_TURNS = 2000


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def drive(
    batches: list[list[FarmEvent]], at: Path, steps: Steps, size: tuple[int, int] = (80, 24)
) -> None:
    """The steps, once the recording of these batches is at its end."""
    recording = str(at / "kept")
    write_recording(recording, [event for batch in batches for event in batch])

    async def run() -> None:
        app = TopApp(lambda heard, said: replay(read_recording(recording), 0, heard, said))
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.standing.is_over)
            await steps(pilot, app)

    asyncio.run(run())


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    for _ in range(_TURNS):
        await pilot.pause()
        if holds():
            return
    raise AssertionError("it never came true")


def seen(app: TopApp) -> list[str]:
    """The rows of the screen, as text."""
    width, height = app.size
    update = app.screen._compositor.render_strips()
    rows = [strip.text for strip in update]
    assert len(rows) == height
    assert all(len(row) == width for row in rows)
    return [row.rstrip() for row in rows]


def row_with(app: TopApp, text: str) -> str:
    found = [row for row in seen(app) if text in row]
    assert len(found) == 1, "\n".join(seen(app))
    return found[0]


def names(app: TopApp, table: str) -> list[str]:
    return [line.name for line in app.query_one(f"#{table}", LineTable).lines]


def test_80_by_24_shows_all_four_tables_and_the_keys(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        rows = seen(app)
        assert rows[0].startswith("zcc top  hill  ")
        assert rows[0].endswith("replay, at its end")
        assert rows[1].startswith("2/5 slots  1 wait  1.7/s  hits 60%  3 agents")
        assert rows[2] == "a ann@hydra 2+0  b bob@lynx 1+1"
        for title in ("NODE ", "BUILD ", "QUEUE ", "      AT EVENT"):
            assert any(row.startswith(title) for row in rows), title
        assert row_with(app, "oak   ").split()[:4] == ["oak", "ready", "1/4", "a:.."]
        assert row_with(app, "limited ").split()[:4] == ["elm", "limited", "1/1", "b-"]
        assert "all-busy" in row_with(app, "1.    b bob@lynx")
        assert rows[-1].startswith("q quit ? keys / filter s sort")

    drive(small_farm.batches(), tmp_path, steps)


def test_lines_are_sorted_and_turned_round(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        assert names(app, "nodes") == ["elm", "oak"]
        await pilot.press("s", "s", "s", "s", "s")
        assert seen(app)[0].endswith("nodes by SPEED")
        assert names(app, "nodes") == ["elm", "oak"]
        await pilot.press("r")
        assert seen(app)[0].endswith("nodes by SPEED, reversed")
        assert names(app, "nodes") == ["oak", "elm"]
        await pilot.press("tab", "s")
        assert seen(app)[0].endswith("builds by BUILD")
        assert names(app, "builds") == ["engine", "nightly", "tools"]

    drive(small_farm.batches(), tmp_path, steps)


def test_a_filter_holds_for_all_tables_until_escape(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("slash", *"elm")
        assert names(app, "nodes") == ["elm"]
        assert names(app, "builds") == []
        await pilot.press("enter")
        assert "filter: elm" in seen(app)[0]
        assert any("none is like that: Esc shows all" in row for row in seen(app))
        await pilot.press("s")
        assert seen(app)[0].count("nodes by NODE") == 1, "the keys are the table's again"
        await pilot.press("escape")
        assert "filter" not in seen(app)[0]
        assert names(app, "nodes") == ["elm", "oak"]

    drive(small_farm.batches(), tmp_path, steps)


def test_enter_shows_details_and_escape_comes_back(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, TextPage))
        rows = seen(app)
        assert rows[0] == "node oak"
        assert any("engine/a.cpp of ann@hydra" in row for row in rows)
        assert rows[-1] == "Esc back"
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, TextPage))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, TextPage))
        assert seen(app)[0] == "zcc top: keys"

    drive(small_farm.batches(), tmp_path, steps)


def test_one_table_alone_and_all_again(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("4")
        await pilot.pause()
        titles = [row for row in seen(app) if row.startswith(("NODE", "BUILD", "QUEUE"))]
        assert titles == []
        assert row_with(app, "build engine of ann@hydra began")
        await pilot.press("0")
        await pilot.pause()
        assert row_with(app, "NODE ")

    drive(small_farm.batches(), tmp_path, steps)


class Told:
    """A source that tells when a test says so."""

    def __init__(self) -> None:
        self.heard: Heard
        self.said: Said

    async def __call__(self, heard: Heard, said: Said) -> None:
        self.heard, self.said = heard, said
        await asyncio.Event().wait()


def drive_live(steps: Callable[[Pilot[None], TopApp, Told], Awaitable[None]]) -> None:
    async def run() -> None:
        source = Told()
        app = TopApp(source)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: hasattr(source, "heard"))
            await steps(pilot, app, source)

    asyncio.run(run())


def test_while_it_pauses_the_screen_stands_and_then_it_catches_up() -> None:
    async def steps(pilot: Pilot[None], app: TopApp, source: Told) -> None:
        source.said(FeedStanding(True))
        first, *others = small_farm.batches()
        source.heard(first)
        await until(pilot, lambda: names(app, "nodes") == ["elm", "oak"])
        await pilot.press("p")
        assert "PAUSED" in seen(app)[0]
        for batch in others:
            source.heard(batch)
        app._show()
        await pilot.pause()
        assert names(app, "builds") == []
        await pilot.press("p")
        assert sorted(names(app, "builds")) == ["engine", "nightly", "tools"]
        assert "live" in seen(app)[0]

    drive_live(steps)


def test_a_lost_broker_is_said_with_what_to_do_and_what_was_seen_stays() -> None:
    async def steps(pilot: Pilot[None], app: TopApp, source: Told) -> None:
        source.said(FeedStanding(True))
        source.heard(small_farm.present())
        source.said(FeedStanding(False, "the broker does not answer", "is it running?"))
        await pilot.pause()
        rows = seen(app)
        assert "NO ANSWER" in rows[0]
        assert rows[3] == "! the broker does not answer: is it running?"
        assert names(app, "nodes") == ["elm", "oak"]
        source.said(FeedStanding(True))
        await pilot.pause()
        assert "live" in seen(app)[0]
        assert seen(app)[3] == ""

    drive_live(steps)


def test_the_cursor_stays_on_its_line_as_lines_move() -> None:
    async def steps(pilot: Pilot[None], app: TopApp, source: Told) -> None:
        source.heard(small_farm.present())
        table = app.query_one("#nodes", LineTable)
        await until(pilot, lambda: len(table.lines) == 2)
        await pilot.press("down")
        source.heard([small_farm.node(10, 3, "ash", 2)])
        app._show()
        assert names(app, "nodes") == ["ash", "elm", "oak"]
        assert table.lines[table.place].name == "oak"

    drive_live(steps)


def test_hostile_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        for keys in ((), ("enter",), ("escape", "tab", "enter"), ("escape", "tab", "enter"),
                     ("escape", "tab", "enter")):  # fmt: skip
            await pilot.press(*keys)
            await pilot.pause()
            rows = seen(app)
            assert "[bold red]x" in "\n".join(rows)
            assert [row for row in rows if not row.isprintable()] == []
            for strip in app.screen._compositor.render_strips():
                assert [each for each in strip if each.style and each.style.link] == []

    drive(small_farm.hostile(), tmp_path, steps, (200, 24))


def test_without_colour_no_cell_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def steps(pilot: Pilot[None], app: TopApp) -> None:
        for table in app.query(LineTable):
            for y in range(table.size.height):
                for segment in table.render_line(y):
                    assert segment.style is None or segment.style.color is None

    drive(small_farm.batches(), tmp_path, steps)
