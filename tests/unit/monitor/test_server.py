"""Who may read the page over HTTP, and what is answered."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import watched_farm
from tests.support.recordings import batches
from zcc.errors import ConfigError
from zcc.messages import Drain
from zcc.monitor import server
from zcc.monitor.access import is_known_host, is_loopback, listening, token_for
from zcc.monitor.files import PAGE, page_files
from zcc.monitor.server import Feed, make_app
from zcc.monitor.source import replay, take

TOKEN = "a-token-of-some-length"
HERE = {"host": "127.0.0.1:8318"}


def fed(seconds: int = 120) -> Feed:
    feed = Feed(run=7)
    feed.say_source(is_up=True)
    for batch in batches(watched_farm.five_minutes(seconds)):
        take(feed, batch)
    return feed


def client(feed: Feed | None = None, **more: Any) -> TestClient:
    return TestClient(
        make_app(feed or fed(), **more), base_url="http://127.0.0.1:8318", follow_redirects=False
    )


# ---- what is answered --------------------------------------------------------------------------------


def test_the_page_and_its_parts_are_served_with_a_policy() -> None:
    reader = client()
    for name in ("", *page_files()):
        answer = reader.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in answer.headers
    assert reader.get("/app.js").headers["content-type"].startswith("text/javascript")


def test_a_file_that_has_not_changed_is_not_sent_again() -> None:
    reader = client()
    tag = reader.get("/app.js").headers["etag"]
    assert reader.get("/app.js", headers={"if-none-match": tag}).status_code == 304


def test_the_page_is_small_and_fetches_nothing_from_elsewhere() -> None:
    files = page_files()
    assert sum(map(len, files.values())) <= 150_000
    for name, text in files.items():
        found = text.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http:" not in found, name
        assert b"https:" not in found, name
        assert b"innerHTML" not in found, name
        assert b"eval(" not in found, name
    assert b"<script>" not in files["index.html"]
    assert b" style=" not in files["index.html"]


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/..%2fserver.py",
        "/%2e%2e/server.py",
        "/page/../../server.py",
        "/..\\server.py",
        "/%00",
        "/etc/passwd",
        "//etc/passwd",
        "/app.js/../../access.py",
        "/.%2e/__init__.py",
        "/app.js%00.html",
    ],
)
def test_no_path_leads_out_of_the_page(path: str) -> None:
    answer = client().request("GET", f"http://127.0.0.1:8318{path}")
    assert answer.status_code == 404
    assert b"root:" not in answer.content
    assert b"import" not in answer.content


def test_nothing_can_be_written() -> None:
    reader = client()
    for path in ("/", "/api/state", "/api/builds", "/events", "/app.js"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert reader.request(method, path).status_code == 405, (method, path)


def test_the_state_is_told_as_documented() -> None:
    told = client().get("/api/state").json()
    assert told["farm"]["farm"] == "main"
    assert {node["name"] for node in told["nodes"]} == {"oak", "elm", "ash", "fir", "yew", "bay"}
    assert set(told["jobs"]) == {"queued", "sending", "leased", "running"}
    assert told["last_minute"]["ok"] > 100
    documented = documented_fields("GET /api/state")
    assert set(told) == documented


def test_builds_are_told_as_documented() -> None:
    reader = client()
    builds = reader.get("/api/builds").json()["builds"]
    assert [build["name"] for build in builds] == [
        "tools 14:07:05",
        "engine 14:06:15",
        "nightly-4711",
        "engine 14:05:09",
    ]
    assert set(builds[0]) == documented_fields("GET /api/builds")
    one = reader.get(f"/api/builds/{builds[1]['id']}").json()
    assert set(one) - set(builds[0]) == documented_fields("GET /api/builds/ID")
    assert set(one["runs"][0]) == documented_fields("A run")
    assert reader.get("/api/builds/none").status_code == 404
    page = reader.get(f"/report/{builds[1]['id']}")
    assert page.headers["content-disposition"].startswith("attachment")
    assert "engine 14:06:15" in page.text


def test_why_is_told_of_files() -> None:
    reader = client()
    assert reader.get("/api/why").json() == {"compiles": []}
    found = reader.get("/api/why", params={"file": "version.cpp"}).json()["compiles"]
    assert [row["reason"] for row in found] == ["time-macro"]


def documented_fields(heading: str) -> set[str]:
    """The first column of the table below a heading of docs/reference/monitor.md."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "monitor.md").read_text()
    section = page.split(f"\n### {heading}\n")[1].split("\n### ")[0].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name.strip(" `") for row in rows for name in row.split("|")[1].split(",")}


def test_health_says_whether_events_come() -> None:
    feed = Feed(run=1)
    reader = client(feed)
    assert reader.get("/healthz").status_code == 503
    feed.say_source(is_up=True)
    assert reader.get("/healthz").json()["is_up"] is True


# ---- who may ask -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8318", "", "127.0.0.1.evil.example", "localhost.evil.example"],
)
def test_a_foreign_name_is_refused(host: str) -> None:
    """A page of another site can have its own name lead here, and would then be of one origin with it."""
    for path in ("/", "/events", "/api/state", "/app.js", "/healthz"):
        answer = client().get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "main" not in answer.text


def test_addresses_and_own_names_are_taken() -> None:
    for host in (
        "127.0.0.1:8318",
        "[::1]:8318",
        "localhost",
        "LOCALHOST:8318",
        "192.0.2.7:8318",
        os.uname().nodename,
    ):
        assert client().get("/", headers={"host": host}).status_code == 200, host
    assert (
        client(names=["Farm.Example"]).get("/", headers={"host": "farm.example"}).status_code == 200
    )
    assert not is_known_host("[evil.example]:80", {"localhost"})


def test_a_fetch_of_another_site_is_refused_and_a_link_is_not() -> None:
    reader = client()
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert reader.get("/api/state", headers=foreign).status_code == 403
    assert reader.get("/", headers={**foreign, "sec-fetch-mode": "navigate"}).status_code == 200


def test_without_its_token_nothing_is_told() -> None:
    reader = client(token=TOKEN)
    for path in ("/", "/events", "/api/state", "/app.js", "/report/x", "/?token=wrong", "/?token="):
        answer = reader.get(path)
        assert answer.status_code == 401, path
        assert "ann" not in answer.text
    for header in ("Bearer wrong", "Bearer", "Basic x", f"Token {TOKEN}"):
        assert reader.get("/", headers={"authorization": header}).status_code == 401
    for cookie in ("zcc-monitor=wrong", f"zcc-monitor={TOKEN}", "zcc-monitor", "=;;="):
        assert reader.get("/", headers={"cookie": cookie}).status_code == 401


def test_a_token_opens_the_page_by_header_and_by_address() -> None:
    reader = client(token=TOKEN)
    assert reader.get("/api/state", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    answer = reader.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert reader.get("/api/state").status_code == 200  # by the cookie


def test_health_needs_no_token() -> None:
    assert client(token=TOKEN).get("/healthz").status_code == 200


def test_beyond_this_machine_a_token_is_needed(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "farm.example"):
        with pytest.raises(ConfigError, match="--token-file FILE"):
            token_for(host, "")
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert is_loopback(host)
        assert token_for(host, "") == ""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert token_for("0.0.0.0", os.fspath(file)) == TOKEN


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (TOKEN, 0o644, "chmod 600"),
        ("short", 0o600, "16 or more"),
        ("", 0o600, "16 or more"),
        ("\u00e4" * 20, 0o600, "ASCII"),
    ],
)
def test_a_token_that_is_none_is_refused(tmp_path: Path, text: str, mode: int, why: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=why):
        token_for("0.0.0.0", os.fspath(file))
    with pytest.raises(ConfigError, match="cannot read"):
        token_for("0.0.0.0", os.fspath(tmp_path / "none"))


def test_where_it_listens_is_read() -> None:
    assert listening("127.0.0.1:8318") == ("127.0.0.1", 8318)
    assert listening("[::1]:80") == ("::1", 80)
    assert listening("[::1]") == ("::1", 8318)
    assert listening(":9000") == ("127.0.0.1", 9000)
    assert listening("farm.example") == ("farm.example", 8318)
    for wrong in ("127.0.0.1:x", "127.0.0.1:70000", "a:"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            listening(wrong)


# ---- the stream --------------------------------------------------------------------------------------

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Browser:
    """One that reads `/events` at its own pace: `take` lets the next piece through."""

    def __init__(self, feed: Feed, last: str = "") -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self.status = 0
        self._gone = asyncio.Event()
        headers = [(b"host", b"127.0.0.1"), *([(b"last-event-id", last.encode())] if last else [])]
        scope = {
            "type": "http", "method": "GET", "path": "/events", "raw_path": b"/events", "query_string": b"",
            "headers": headers, "scheme": "http", "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        self.task = asyncio.create_task(make_app(feed)(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        if message.get("body"):
            await self.pieces.put(message["body"])

    async def take(self) -> str:
        return (await asyncio.wait_for(self.pieces.get(), 10)).decode()

    async def until(self, text: str) -> str:
        """All up to a piece with this text."""
        heard = ""
        while text not in heard:
            heard += await self.take()
        return heard

    async def leave(self) -> None:
        self._gone.set()
        while not self.task.done():
            with_room = asyncio.create_task(self.pieces.get())
            await asyncio.wait([self.task, with_room], return_when=asyncio.FIRST_COMPLETED)
            with_room.cancel()
        await self.task


def test_a_stream_tells_the_past_and_goes_on() -> None:
    async def story() -> None:
        feed = fed(30)
        browser = Browser(feed)
        heard = await browser.until(f"id: {feed.broadcast.run}-{feed.broadcast.number}\n")
        assert (
            heard.index("event: welcome")
            < heard.index("event: source")
            < heard.index("event: snapshot")
        )
        feed.say_source(is_up=False, why="the broker does not answer")
        assert "event: source" in await browser.until("does not answer")
        take(feed, watched_farm.later(watched_farm.five_minutes(1)[-1:], 31_000))
        await browser.until('["pulse",')
        assert feed.readers == 1
        await browser.leave()
        assert feed.readers == 0

    asyncio.run(story())


def test_a_stream_tells_what_is_wrong_and_again_when_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.01)

    async def story() -> None:
        feed = fed(30)
        browser = Browser(feed)
        heard = await browser.until("event: troubles")
        assert heard.index("event: snapshot") < heard.index("event: troubles")
        assert "yew is slow" in heard
        assert feed.troubles_version == 1
        number, node = next(iter(feed.state.nodes.items()))
        gone = replace(node.shown, at_ms=31_000, state="quarantined", reason="5 faults")
        take(feed, [gone])
        assert f"{node.shown.name} is in quarantine: 5 faults." in await browser.until(
            "quarantine:"
        )
        assert number == gone.node
        await browser.leave()

    asyncio.run(story())


# ---- the one order ----------------------------------------------------------------------------------


class Drainer:
    """Notes orders, and answers as the broker would."""

    def __init__(self, answer: int | str = 1) -> None:
        self.orders: list[Drain] = []
        self._answer = answer

    async def __call__(self, order: Drain) -> int:
        self.orders.append(order)
        if isinstance(self._answer, str):
            raise ConfigError(self._answer)
        return self._answer


ORDER = {"member": "k-0f3a91c2", "name": "oak", "is_drained": True}
ORIGIN = {"origin": "http://127.0.0.1:8318"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


def page_of(drainer: Drainer) -> TestClient:
    """A reader who has the cookie."""
    reader = client(token=TOKEN, drainer=drainer)
    reader.get("/", params={"token": TOKEN})
    return reader


def test_the_page_itself_and_who_says_the_token_may_drain() -> None:
    drainer = Drainer()
    reader = page_of(drainer)
    same = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    answer = reader.post("/api/drain", json=ORDER, headers={**ORIGIN, **same})
    assert (answer.status_code, answer.json()) == (200, {"count": 1})
    script = client(token=TOKEN, drainer=drainer)
    undo = {**ORDER, "is_drained": False}
    assert script.post("/api/drain", json=undo, headers=BEARER).status_code == 200
    assert drainer.orders == [
        Drain("k-0f3a91c2", "oak", True),
        Drain("k-0f3a91c2", "oak", False),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:8319"},
        {"origin": "null"},
        {"origin": "127.0.0.1:8318"},
        {"origin": "http://127.0.0.1:8318.evil.example"},
        {**ORIGIN, "sec-fetch-site": "same-site"},
        {**ORIGIN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {**ORIGIN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {**ORIGIN, "content-type": "text/plain"},
        {**ORIGIN, "content-type": "application/x-www-form-urlencoded"},
        {**ORIGIN, "content-type": ""},
    ],
)
def test_an_order_that_the_page_has_not_given_is_refused(headers: dict[str, str]) -> None:
    drainer = Drainer()
    headers = {"content-type": "application/json"} | headers
    answer = page_of(drainer).post("/api/drain", content=json.dumps(ORDER), headers=headers)
    assert answer.status_code == 403
    assert drainer.orders == []


def test_without_the_token_or_the_permission_nothing_is_drained() -> None:
    drainer = Drainer()
    stranger = client(token=TOKEN, drainer=drainer)
    for headers in (ORIGIN, {**ORIGIN, "authorization": "Bearer wrong"}):
        assert stranger.post("/api/drain", json=ORDER, headers=headers).status_code == 401
    assert client().post("/api/drain", json=ORDER, headers=ORIGIN).status_code == 403
    reader = client(token=TOKEN)
    assert reader.post("/api/drain", json=ORDER, headers=BEARER).status_code == 403
    with pytest.raises(AssertionError):
        client(drainer=drainer)
    foreign = {**BEARER, "host": "evil.example"}
    assert stranger.post("/api/drain", json=ORDER, headers=foreign).status_code == 421
    assert drainer.orders == []


def test_only_a_post_of_an_order_drains() -> None:
    drainer = Drainer()
    reader = page_of(drainer)
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = reader.request(method, "/api/drain", headers=ORIGIN)
        assert answer.status_code == 405, method
    for wrong in ("", "[]", "{}", "null", '"oak"', json.dumps({**ORDER, "is_drained": "yes"}),
                  json.dumps({**ORDER, "name": 7}), "{" * 3000):  # fmt: skip
        headers = {**ORIGIN, "content-type": "application/json"}
        assert reader.post("/api/drain", content=wrong, headers=headers).status_code == 400, wrong
        long = wrong + " " * 5000
        assert reader.post("/api/drain", content=long, headers=headers).status_code == 413
    assert drainer.orders == []


def test_what_the_broker_says_of_an_order_is_told() -> None:
    reader = page_of(Drainer(0))
    assert reader.post("/api/drain", json=ORDER, headers=ORIGIN).status_code == 404
    reader = page_of(Drainer("the broker does not answer"))
    answer = reader.post("/api/drain", json=ORDER, headers=ORIGIN)
    assert (answer.status_code, answer.json()) == (502, {"error": "the broker does not answer"})


def test_a_stream_goes_on_behind_the_last_event_that_was_heard() -> None:
    async def story() -> None:
        feed = fed(30)
        browser = Browser(feed, f"{feed.broadcast.run}-{feed.broadcast.number - 1}")
        heard = await browser.until("event: batch")
        assert "event: snapshot" not in heard
        assert heard.count("event: batch") == 1
        await browser.leave()

    asyncio.run(story())


def test_a_browser_that_does_not_read_holds_nothing_and_nobody() -> None:
    """What one has not read stays in the ring alone; it is given the present state when it reads again."""

    async def story() -> None:
        feed = Feed(run=7)
        slow = Browser(feed)
        await slow.until("event: source")
        swift = Browser(feed)
        await swift.until("event: source")
        reading = asyncio.create_task(swift.until('"pulse",300000'))
        for batch in batches(watched_farm.five_minutes()):
            take(feed, batch)
            await asyncio.sleep(0)
        for minute in range(1, 30):
            take(
                feed,
                watched_farm.later(watched_farm.five_minutes(1)[-1:], 300_000 + minute * 60_000),
            )
        await reading
        heard = await slow.until('"late":true')
        assert heard.count("event: batch") * 10 < feed.broadcast.number
        await slow.leave()
        await swift.leave()

    asyncio.run(story())


def test_there_are_not_more_streams_than_a_server_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_READERS", 0)
    answer = client().get("/events")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_a_recording_is_told_and_its_end_is_said() -> None:
    async def story() -> None:
        feed = Feed(run=7)
        await replay(feed, batches(watched_farm.five_minutes(20)), 0)
        assert feed.source == {"is_up": True, "why": "ended", "is_replay": True}
        assert feed.broadcast.number > 50
        assert feed.state.pulse is not None

    asyncio.run(story())


def test_the_page_is_in_the_package() -> None:
    """Data of the package `zcc`, so a wheel has them (`wheel.packages`)."""
    assert os.path.relpath(PAGE, Path(server.__file__).parents[2]) == "zcc/monitor/page"
    assert {"index.html", "style.css", "app.js"} <= set(page_files())
