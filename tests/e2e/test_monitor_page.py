"""The page of `zcc monitor` in a real browser, over recordings that tests/support/watched_farm.py makes."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from tests.support import watched_farm
from tests.support.prepared_farm import PreparedFarm
from tests.support.recordings import write_recording
from zcc import farm as membership
from zcc.cli.up import LocalFarm

VIEWS = ("now", "star", "slots", "flow", "queue", "builds", "hosts", "cache", "why")
CANVASES = {"now": 3, "star": 1, "slots": 1, "flow": 2, "cache": 1}
# A page that is drawn without a graphics card on a machine that is busy.
PATIENCE_MS = 30_000


@contextmanager
def served(
    *options: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a `zcc monitor` of one's own, and its process."""
    process = subprocess.Popen(
        [BIN / "zcc", "monitor", "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode()
        found = re.search(r"http://\S+/", line)
        assert found is not None, line
        yield found[0], process
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = os.fspath(tmp_path_factory.mktemp("recording"))
    write_recording(directory, watched_farm.five_minutes())
    return directory


@pytest.fixture(scope="module")
def address(recording: str) -> Iterator[str]:
    with served("--replay", recording, "--speed", "0") as (found, _):
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = needs("chromium")
    with sync_playwright() as playwright:
        # Root has no sandbox of Chromium's; the page is our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, and what its browser complained of."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, view: str) -> Page:
        self.page.goto(f"{self.address}#/{view}")
        self.page.wait_for_selector("body[data-ready=yes]", timeout=PATIENCE_MS)
        return self.page

    def dialog(self, dialog: Dialog) -> None:
        self.complaints.append("a dialog")
        dialog.dismiss()

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


Opener = Callable[..., Seen]


@pytest.fixture
def seen(browser: Browser) -> Iterator[Opener]:
    """Opens pages; at the end none may have complained, of its code or of its policy."""
    opened: list[Seen] = []

    def open_page(address: str, width: int = 1280, height: int = 800, scheme: str = "dark") -> Seen:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id="UTC",
        )
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        one = Seen(page, address)
        page.on("console", one.heard)
        page.on("pageerror", lambda error: one.complaints.append(error.message))
        opened.append(one)
        return one

    yield open_page
    for one in opened:
        one.page.close()
        assert one.complaints == []


def has_ink(page: Page) -> list[bool]:
    """Of each canvas, whether anything was drawn on it."""
    drawn: list[bool] = page.evaluate(
        """() => [...document.querySelectorAll("main canvas")].map((canvas) => {
             const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
             return data.some((value) => value);
           })"""
    )
    return drawn


def main_text(page: Page) -> str:
    return page.locator("main").inner_text()


def test_each_view_shows_its_facts(seen: Opener, address: str) -> None:
    one = seen(address)
    facts = {
        "now": ["46 of 46 slots", "ash is in quarantine", "yew is slow", "CPU time spared", "engine 14:09:27"],
        "star": ["Who uses whom?", "ann", "carol"],
        "slots": ["colour", "as a list", "bob"],
        "flow": ["compile", "the compiler runs", "nightly-4711"],
        "queue": ["In order of service", "all slots that may run it are busy",
                  "nightly-4712 of ci@runner fills the queue"],
        "builds": ["engine 14:05:09", "tools 14:07:05", "hydra", "puma"],
        "hosts": ["quarantine", "5 faults: sandbox", "its owner works", "gcc 12.2.0, clang 16.0.6", "0.35"],
        "cache": ["something it reads, or the command, is not what it was", "of 50 GiB", "ann@hydra"],
        "why": ["A file says __DATE__, __TIME__ or __TIMESTAMP__", "time-macro"],
    }  # fmt: skip
    assert tuple(facts) == VIEWS
    for view, texts in facts.items():
        page = one.open(view)
        for text in texts:
            expect(page.locator("main")).to_contain_text(text)
        assert page.locator("#nav [aria-current=page]").inner_text().lower().startswith(view)
        drawn = has_ink(page)
        assert len(drawn) >= CANVASES.get(view, 0)
        assert all(drawn), view
    expect(one.page.locator("#head")).to_contain_text("recording, at its end")


def test_a_newcomer_finds_what_held_up_a_build_s_end(seen: Opener, address: str) -> None:
    page = seen(address).open("builds")
    page.get_by_role("link", name="engine 14:06:15").click()
    expect(page.locator("h1")).to_have_text("engine 14:06:15")
    expect(page.locator("main")).to_contain_text(
        re.compile(
            rf"{watched_farm.TAIL} on yew ended [\d.]+ s later than that: that node took .*"
            r"What would have helped: the fastest node \([\d.]+ s sooner\)"
        )
    )
    for text in (
        "Slowest files",
        "Largest memory",
        "A file says __DATE__",
        "engine/core/version.cpp",
        "engine 14:05:09",
    ):
        expect(page.locator("main")).to_contain_text(text)
    assert has_ink(page) == [True]
    page.locator("canvas.waterfall").hover(position={"x": 900, "y": 122})
    expect(page.locator("#tip")).to_contain_text(watched_farm.TAIL)
    expect(page.locator("#tip")).to_contain_text("Why there:")
    page.get_by_role("link", name="Open engine 14:05:09").click()
    expect(page.locator("h1")).to_have_text("engine 14:05:09")


def test_a_newcomer_finds_why_a_compile_was_local(seen: Opener, address: str) -> None:
    page = seen(address).open("why")
    page.locator("#why-file").fill("core/version")
    expect(page.locator("main")).to_contain_text("compiled locally")
    expect(page.locator("main")).to_contain_text("What to do: Give them values with -D")
    assert page.url.endswith("#/why/core%2Fversion")
    page.locator("#why-file").fill("no such file")
    expect(page.locator("main")).to_contain_text("Nothing is known of a file like")
    page.locator("#why-file").fill("shader")
    expect(page.locator("main")).to_contain_text("Why yew: the slot was the fastest idle one")


def test_a_newcomer_finds_the_slow_node_and_sorts(seen: Opener, address: str) -> None:
    page = seen(address).open("hosts")
    page.get_by_role("button", name="speed").click()
    expect(page.locator("tbody tr").first).to_contain_text("oak")
    page.get_by_role("button", name="speed").click()
    expect(page.locator("tbody tr").first).to_contain_text("yew")
    page.locator("#filter").fill("quarantine")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_slots_are_read_with_pointer_keys_and_as_a_list(seen: Opener, address: str) -> None:
    page = seen(address).open("slots")
    page.locator("canvas.gantt").hover(position={"x": 600, "y": 250})
    expect(page.locator("#tip")).to_contain_text("Why here:")
    page.mouse.move(5, 5)
    page.keyboard.press("+")
    expect(page.locator("main")).to_contain_text("30 s")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name="now")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("0")
    expect(page.get_by_role("button", name="now")).to_have_attribute("aria-pressed", "true")
    for mode in ("build", "outcome", "phase"):
        page.get_by_role("button", name=mode, exact=True).click()
        expect(page.get_by_role("button", name=mode, exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
    page.keyboard.press("l")
    expect(page.locator("tbody tr").first).to_contain_text("compiles")
    page.keyboard.press("/")
    page.keyboard.type("ci@runner")
    expect(page.locator("tbody tr").first).to_contain_text("nightly-4712")


def test_keys_lead_everywhere_and_the_theme_turns(seen: Opener, address: str) -> None:
    page = seen(address).open("now")
    for place, view in enumerate(VIEWS, 1):
        page.keyboard.press(str(place))
        expect(page.locator("#view")).to_have_class(f"view-{view}")
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("A colour is whose job it is")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).not_to_be_visible()


def test_a_phone_shows_all_of_it_without_scrolling_aside(seen: Opener, address: str) -> None:
    one = seen(address, 390, 780, "light")
    for view in VIEWS:
        page = one.open(view)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert page.evaluate("document.getElementById('view').scrollWidth <= innerWidth"), view


def test_a_pause_holds_the_page_and_the_farm_goes_on(seen: Opener, recording: str) -> None:
    with served("--replay", recording, "--speed", "20") as (address, _):
        page = seen(address).open("now")
        page.keyboard.press("p")
        expect(page.locator("#head")).to_contain_text("paused")
        clock = page.locator("#head time").inner_text()
        waiting = "zccMonitor.stream.waiting.length"
        until(lambda: page.evaluate(waiting) > 3)
        assert page.locator("#head time").inner_text() == clock
        page.keyboard.press("p")
        expect(page.locator("#head time")).not_to_have_text(clock)
        assert page.evaluate(waiting) == 0
        page.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_lost_connection_is_said_and_comes_back(seen: Opener, recording: str) -> None:
    one = seen("")
    with served("--replay", recording, "--speed", "0") as (address, _):
        one.address = address
        one.open("now")
        expect(one.page.locator("body")).to_contain_text("recording, at its end")
        expect(one.page.locator("main")).to_contain_text("46 of 46 slots")
    expect(one.page.locator("#notice")).to_contain_text("The connection to zcc monitor is lost")
    assert "46 of 46 slots" in main_text(one.page)
    port = address.rstrip("/").rpartition(":")[2]
    with served("--listen", f"127.0.0.1:{port}", "--replay", recording, "--speed", "0"):
        expect(one.page.locator("#notice")).to_have_text("")
        expect(one.page.locator("main")).to_contain_text("46 of 46 slots")
        one.page.close()
    # The browser itself writes down that it could not reach the server.
    one.complaints = [each for each in one.complaints if "ERR_" not in each]


def test_an_empty_farm_says_so_in_each_view(seen: Opener, tmp_path: Path) -> None:
    events = watched_farm.five_minutes(3)
    write_recording(
        os.fspath(tmp_path), [event for event in events if event.NAME in ("farm", "pulse")]
    )
    with served("--replay", os.fspath(tmp_path), "--speed", "0") as (address, _):
        one = seen(address)
        for view, text in {
            "now": "No node is connected: every compile runs on the machine that asks for it.",
            "queue": "Nobody waits.",
            "builds": "No build has been seen yet.",
            "hosts": "No node is connected.",
            "cache": "No miss was counted.",
            "flow": "No job has ended in the last five minutes.",
            "why": "Nothing was compiled locally.",
            "star": "Nobody",
            "slots": "colour",
        }.items():
            page = one.open(view)
            if view != "star":
                expect(page.locator("main")).to_contain_text(text)
            else:
                expect(page.locator("canvas.star")).to_have_attribute(
                    "aria-label", re.compile(text)
                )
        page = one.open("build/k-1%2Fnone")
        expect(page.locator("main")).to_contain_text("It is not known here")
        one.complaints = [each for each in one.complaints if "404" not in each]
        page.close()


def test_hostile_names_are_text_everywhere(seen: Opener, tmp_path: Path) -> None:
    """Names of farm, files, users, nodes, builds, hosts, reasons and messages, each of them an attack."""
    write_recording(os.fspath(tmp_path), watched_farm.hostile())
    with served("--replay", os.fspath(tmp_path), "--speed", "0") as (address, _):
        one = seen(address)
        one.page.on("dialog", one.dialog)
        id_of = "[...zccMonitor.state.knownBuilds.keys()][0]"
        for view in VIEWS:
            page = one.open(view)
            if view == "why":
                page.locator("#why-file").fill("img")
                expect(page.locator("main")).to_contain_text(watched_farm.HOSTILE)
            elif view not in ("star", "slots"):
                expect(page.locator("main")).to_contain_text(watched_farm.HOSTILE)
            assert page.locator("img").count() == 0
        one.open("slots")
        page.keyboard.press("l")
        expect(page.locator("main")).to_contain_text(watched_farm.HOSTILE)
        page.keyboard.press("l")
        expect(page.locator("canvas.gantt")).to_be_visible()
        one.open("star")
        page.locator("canvas.star").hover(position={"x": 560, "y": 100})
        identity = page.evaluate(id_of)
        page = one.open(f"build/{quote(identity, safe='')}")
        expect(page.locator("h1")).to_have_text(f"build{watched_farm.HOSTILE}")
        assert page.locator("img").count() == 0
        with page.expect_download() as download:
            page.get_by_role("link", name="Save as a file").click()
        page.goto(Path(download.value.path()).as_uri())
        report = tmp_path / "build.html"
        download.value.save_as(report)
        page.goto(report.as_uri())
        expect(page.locator("h1")).to_have_text(f"build{watched_farm.HOSTILE}")
        assert page.locator("img").count() == 0
        page.close()


def test_a_report_is_a_page_by_itself(seen: Opener, recording: str, tmp_path: Path) -> None:
    file = tmp_path / "build.html"
    command = [
        os.fspath(BIN / "zcc"),
        "report",
        "14:06:15",
        "--from",
        recording,
        "-o",
        os.fspath(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, [f"{file}:", "engine", "14:06:15"]), done
    page = seen("").page
    page.goto(file.as_uri())
    expect(page.locator("main")).to_contain_text(watched_farm.TAIL)
    assert has_ink(page) == [True]


def test_real_compiles_on_a_real_farm_are_seen_as_they_happen(seen: Opener, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-shown-") as directory:
        local = PreparedFarm(directory)
        key = os.path.join(directory, "monitor")
        try:
            # Playwright has this thread's event loop, and who joins needs one.
            with ThreadPoolExecutor(1) as beside:
                beside.submit(begin, local, key).result()
            with served("--key", key, environment=local.environment) as (address, _):
                one = seen(address)
                see_a_build(one, Farm(local), tmp_path)
                local.stop()
                expect(one.page.locator("#notice")).to_contain_text("does not hear from the broker")
                expect(one.page.locator("main")).to_contain_text("compiled on node")
                one.page.close()
        finally:
            local.stop()


def begin(local: LocalFarm, key: str, role: str = "monitor") -> None:
    local.start(nodes=2, slots=2)
    membership.join(local.token(role), key, f"{role}@here", (role,))


def test_an_admin_drains_a_node_and_lets_it_work_again(seen: Opener, tmp_path: Path) -> None:
    secret = tmp_path / "page-token"
    secret.write_text("a-token-of-some-length\n")
    secret.chmod(0o600)
    with tempfile.TemporaryDirectory(prefix="zcc-page-") as directory:
        local, key = LocalFarm(directory), os.path.join(directory, "admin")
        options = ("--key", key, "--token-file", os.fspath(secret), "--allow-drain")
        try:
            with ThreadPoolExecutor(1) as beside:
                beside.submit(begin, local, key, "admin").result()
            with served(*options, environment=local.environment) as (address, _):
                one = seen(address)
                one.page.goto(f"{address}?token=a-token-of-some-length")
                drain_and_undo(one, Farm(local), tmp_path)
                one.page.close()
        finally:
            local.stop()


def drain_and_undo(one: Seen, farm: Farm, at: Path) -> None:
    page = one.open("hosts")
    row = page.locator("tbody tr").filter(has_text="node1")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="drain node1").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="drain node1").click()
    expect(row).to_contain_text("an admin has drained it")
    expect(page.get_by_role("button", name="drain node2")).to_be_visible()
    with farm.ending("remote"):
        for name in ("one", "two", "three"):
            (at / f"{name}.c").write_text(f"int {name}(int a) {{ return a * 7; }}\n")
            command = ("zcc", "gcc", "-O1", "-c", f"{name}.c", "-o", f"{name}.o")
            assert farm.run(*command, cwd=at, ZCC_CACHE="off").returncode == 0
    assert farm.stats()["nodes"] == {"node2": 3}
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="let work node1").click()
    expect(row).to_contain_text("ready")


def see_a_build(one: Seen, farm: Farm, at: Path) -> None:
    page = one.open("hosts")
    expect(page.locator("#head")).to_contain_text("live")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="drain")).to_have_count(0)
    (at / ".git").mkdir()
    for name in ("alpha", "beta"):
        (at / f"{name}.c").write_text(f"int {name}(int a) {{ return a * 7; }}\n")
        command = ("zcc", "gcc", "-O1", "-c", f"{name}.c", "-o", f"{name}.o")
        done = farm.run(*command, cwd=at, ZCC_BUILD="shown live", ZCC_CACHE="off")
        assert done.returncode == 0, done.stderr
    page = one.open("builds")
    page.get_by_role("link", name="shown live").click()
    for text in ("alpha.c", "beta.c", "Slowest files", "node"):
        expect(page.locator("main")).to_contain_text(text)
    page = one.open("slots")
    page.keyboard.press("l")
    expect(page.locator("tbody")).to_contain_text("alpha.c")
    page = one.open("why")
    page.locator("#why-file").fill("beta")
    expect(page.locator("main")).to_contain_text("compiled on node")
