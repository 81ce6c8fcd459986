"""The manual pages: what groff makes of them, and that no help text is taken for a request of roff."""

from __future__ import annotations

import subprocess
from functools import cache

import pytest

from tests.manual_pages import pages
from zcc.cli.help import Help
from zcc.cli.manual import manual_page

pytestmark = pytest.mark.outside
PAGES = dict(pages())


@cache
def set_in_type(name: str) -> str:
    """The page as `man` shows it. groff warns of what it does not understand."""
    command = ["groff", "-man", "-ww", "-Tascii", "-P-cbou"]
    done = subprocess.run(command, input=PAGES[name], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


@pytest.mark.needs("groff")
@pytest.mark.parametrize("name", PAGES)
def test_each_command_has_a_page_that_groff_takes(name: str) -> None:
    text = set_in_type(name)
    assert text.startswith(f"{name.removesuffix('.1').upper()}(1)")
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION"):
        assert f"\n{title}\n" in text


@pytest.mark.needs("groff")
def test_options_and_the_commands_around_it_are_there() -> None:
    text = set_in_type("zcc-broker-token.1")
    assert "--role <client|node|publisher|admin|monitor>" in text
    assert "SEE ALSO\n       zcc-broker(1)" in text
    assert "zcc-agent-status(1)" in set_in_type("zcc-agent.1")


@pytest.mark.needs("groff")
def test_text_that_looks_like_roff_stays_text() -> None:
    hostile = r""".so /etc/passwd \fBbold `a-b` 'quoted' "double" ~tilde ^hat \n(.x"""
    parts = Help("Usage: x [OPTIONS]", (hostile,), (("Options", ((".name", hostile), ("-x", ""))),))
    page = manual_page("zcc x", parts, "1", ())
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    shown = hostile.replace("`", "")
    assert done.stdout.count(shown) == 3, done.stdout
    assert "\n       .name" in done.stdout
