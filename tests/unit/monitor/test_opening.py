"""`zcc monitor --open`: the address that the browser is given lets its reader in."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from zcc.cli.main import command_line
from zcc.monitor import serving
from zcc.monitor.server import Feed, make_app

# As the guide has one made: base64.
TOKEN = "q+/8&x=#T4bYk%20Zt+A=="


def test_the_browser_is_given_the_token_as_an_address_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    def run(listener: Any, *_: object, **__: object) -> None:
        listener.close()

    monkeypatch.setattr(serving, "run", run)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    options = ["--listen", "127.0.0.1:0", "--open", "--token-file", str(file), "--replay", "x"]
    said = CliRunner().invoke(command_line(), ["monitor", *options])
    assert said.exit_code == 0, said.output
    (address,) = opened
    reader = TestClient(make_app(Feed(run=7), token=TOKEN), base_url="http://127.0.0.1:8318")
    parts = urlsplit(address)
    answer = reader.get(f"{parts.path}?{parts.query}", follow_redirects=False)
    assert answer.status_code == 303
