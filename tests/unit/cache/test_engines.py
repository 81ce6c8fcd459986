"""The engines themselves, real ones: Redis, a server that speaks S3, files by HTTP; and each when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cache.remote.engine import Engine, EngineError, MemoryEngine
from cache.remote.object_engine import ObjectEngine
from cache.remote.redis_engine import RedisEngine
from tests.support.engines import PASSWORD, RedisServer, S3Server, running

pytestmark = [pytest.mark.outside, pytest.mark.timeout(300)]
TIMEOUT_S = 20.0  # of a request, on a machine that does much else


class Files(BaseHTTPRequestHandler):
    """GET, PUT and DELETE of what is in memory, for who has the token."""

    kept: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if self.headers.get("Authorization") != "Bearer word":
            self.answer(403)
        elif self.command == "PUT":
            self.kept[self.path] = body
            self.answer(201)
        elif self.path not in self.kept:
            self.answer(404)
        elif self.command == "DELETE":
            del self.kept[self.path]
            self.answer(204)
        else:
            self.answer(200, self.kept[self.path])

    do_GET = do_PUT = do_DELETE = handle_one

    def log_message(self, *_: object) -> None:
        pass


def http_engine(address: str, token: str = "word") -> ObjectEngine:
    headers = {"Authorization": f"Bearer {token}"}
    return ObjectEngine(f"{address}/cache", {}, headers, TIMEOUT_S)


@pytest.fixture
def files() -> Iterator[str]:
    """The address of a server of files."""
    handler = type("OwnFiles", (Files,), {"kept": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    with running(server):
        yield server


@pytest.fixture(params=["memory", "redis", "s3", "http"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: dict[str, Callable[[], Engine]] = {
        "memory": MemoryEngine,
        "redis": lambda: RedisEngine(
            request.getfixturevalue("redis_server").url, "", PASSWORD, TIMEOUT_S
        ),
        "s3": lambda: ObjectEngine(
            request.getfixturevalue("s3_server").url,
            request.getfixturevalue("s3_server").options,
            {},
            TIMEOUT_S,
        ),
        "http": lambda: http_engine(request.getfixturevalue("files")),
    }
    engine = made[request.param]()
    yield engine
    engine.close()


def test_an_engine_gives_what_it_has_taken_until_it_is_removed(engine: Engine) -> None:
    values = {"zcc1/f/r/one": b"", "zcc1/f/r/two": bytes(range(256)) * 5000, "zcc1/f/b/one": b"3"}
    assert engine.get(values) == {}
    engine.put(values)
    assert engine.get([*values, "zcc1/f/r/none"]) == values
    assert engine.get([]) == {}
    engine.put({"zcc1/f/b/one": b"another"})
    engine.remove(["zcc1/f/r/one", "zcc1/f/r/none"])
    assert engine.get(values) == {
        "zcc1/f/r/two": values["zcc1/f/r/two"],
        "zcc1/f/b/one": b"another",
    }
    engine.remove([])


def test_redis_is_told_how_long_to_keep(redis_server: RedisServer) -> None:
    engine = RedisEngine(redis_server.url, "", PASSWORD, TIMEOUT_S, 1000)
    engine.put({"kept": b"1"})
    assert 900 < redis_server.client().ttl("kept") <= 1000


def test_a_redis_that_hangs_is_waited_for_no_longer_than_said(redis_server: RedisServer) -> None:
    engine = RedisEngine(redis_server.url, "", PASSWORD, 0.2)
    redis_server.freeze()
    try:
        with pytest.raises(EngineError, match="does not answer"):
            engine.get(["x"])
    finally:
        redis_server.thaw()


def test_a_redis_that_is_gone_is_used_again_when_it_is_back(redis_server: RedisServer) -> None:
    engine = RedisEngine(redis_server.url, "", PASSWORD, TIMEOUT_S)
    engine.put({"x": b"1"})
    redis_server.kill()
    for work in (lambda: engine.get(["x"]), lambda: engine.put({"x": b""})):
        with pytest.raises(EngineError):
            work()
    redis_server.start()
    assert engine.get(["x"]) == {}


def test_a_redis_that_is_full_says_what_to_do_and_is_read(redis_server: RedisServer) -> None:
    engine = RedisEngine(redis_server.url, "", PASSWORD, TIMEOUT_S)
    engine.put({"x": b"1"})
    redis_server.client().config_set("maxmemory", 1)
    try:
        with pytest.raises(EngineError, match="maxmemory-policy"):
            engine.put({"y": b"2"})
        assert engine.get(["x", "y"]) == {"x": b"1"}
    finally:
        redis_server.client().config_set("maxmemory", 0)


def test_a_redis_user_needs_what_the_guide_says_and_no_more(redis_server: RedisServer) -> None:
    client = redis_server.client()
    rules = ("on", ">hush", "~zcc1/*", "+mget", "+set", "+unlink")
    client.execute_command("ACL", "SETUSER", "zcc", *rules)  # type: ignore[no-untyped-call]
    engine = RedisEngine(redis_server.url, "zcc", "hush", TIMEOUT_S)
    engine.put({"zcc1/x": b"1"})
    assert engine.get(["zcc1/x"]) == {"zcc1/x": b"1"}
    engine.remove(["zcc1/x"])
    with pytest.raises(EngineError, match="its user needs"):
        engine.put({"other": b"1"})


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_is_told_without_it(redis_server: RedisServer, password: str) -> None:
    with pytest.raises(EngineError, match="credentials") as raised:
        RedisEngine(redis_server.url, "", password, TIMEOUT_S).get(["x"])
    assert "wrong" not in str(raised.value)


def test_a_bucket_that_is_not_there_is_told(s3_server: S3Server) -> None:
    with pytest.raises(EngineError, match="NoSuchBucket"):
        ObjectEngine("s3://none/x", s3_server.options, {}, TIMEOUT_S).put({"x": b"1"})


def test_a_server_that_is_gone_is_told(s3_server: S3Server) -> None:
    s3_server.kill()
    engine = ObjectEngine(s3_server.url, s3_server.options, {}, TIMEOUT_S)
    for work in (lambda: engine.get(["x"]), lambda: engine.put({"x": b""})):
        with pytest.raises(EngineError):
            work()
    s3_server.start()


def test_a_file_server_s_refusal_is_told(files: str) -> None:
    with pytest.raises(EngineError, match="see the credentials"):
        http_engine(files, "another word").get(["x"])
