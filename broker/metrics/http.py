"""One HTTP/1.1 connection of who reads the metrics: GET /metrics, and nothing else.

It may be anybody who reaches the address. So he has little: no body, few requests a second from all of them
together, one answer at a time that he has to read before he gets another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import h11

from broker.core.allowance import Allowance
from broker.http.connection import HEAD_S, Doorkeeper, HttpConnection, HttpHouse
from zcc.exposition import OPEN_TYPE, TEXT_TYPE

# A Prometheus asks each few seconds; some of them, and who tries it with curl.
REQUESTS_BURST = 40.0
REQUESTS_PER_S = 20.0
PATH = b"/metrics"
_ALL = ""


@dataclass(slots=True, kw_only=True)
class ScrapePremises(HttpHouse):
    """`text_of` is `Page.text`."""

    text_of: Callable[[bool], str | None]
    allowance: Allowance = field(default_factory=lambda: Allowance(REQUESTS_BURST, REQUESTS_PER_S))

    def admit(self, doorkeeper: Doorkeeper) -> Scrape:
        return Scrape(self, doorkeeper)

    def is_good(self, token: str) -> bool:
        return False  # there are none

    def sum_up(self) -> None:
        pass


class Scrape(HttpConnection):
    def __init__(self, premises: ScrapePremises, doorkeeper: Doorkeeper) -> None:
        super().__init__(premises, doorkeeper)
        self._premises = premises
        self._request: h11.Request | None = None
        self._is_due = False

    @property
    def is_idle(self) -> bool:
        return self._request is None

    def _begin(self, request: h11.Request) -> None:
        self.deadline = self._premises.now() + HEAD_S
        self._premises.allowance.use(_ALL, 1, self._premises.now())
        headers = dict(request.headers)
        if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
            self._refuse(413)
        elif request.target.partition(b"?")[0] != PATH:
            self._refuse(404)
        elif request.method not in (b"GET", b"HEAD"):
            self._refuse(405, [(b"Allow", b"GET, HEAD")])
        else:
            self._request = request

    def _has_to_wait(self) -> bool:
        owed = -self._premises.allowance.left(_ALL, self._premises.now())
        if owed <= 0 or self._is_leaving:
            return False
        self._wait_s(owed / REQUESTS_PER_S)
        return True

    def _take(self, piece: bytes) -> None:
        raise AssertionError("a request with a body is refused")

    def _finish(self) -> None:
        self._is_due = self._request is not None

    def _has_more(self) -> bool:
        if self._request is None or not self._is_due:
            return False
        is_open = b"application/openmetrics-text" in dict(self._request.headers).get(b"accept", b"")
        text = self._premises.text_of(is_open)
        if text is None:
            return True
        self._premises.counts["pages"] += 1
        is_head = self._request.method == b"HEAD"
        self._request, self._is_due = None, False
        headers = [(b"Content-Type", (OPEN_TYPE if is_open else TEXT_TYPE).encode())]
        self._answer(200, headers, text.encode(), is_head=is_head)
        return True
