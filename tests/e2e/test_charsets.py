"""Sources and strings in other character sets than UTF-8: glibc's modules convert them, which no log shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import both_ways
from tests.e2e.test_profiles import remote


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        ("-finput-charset=latin1", "latin-1"),
        ("-finput-charset=ISO-8859-15 -fexec-charset=CP1252", "iso8859-15"),
        ("-finput-charset=EUC-KR", "euc-kr"),
        ("-fexec-charset=IBM1047", "utf-8"),
        ("-fwide-exec-charset=UTF-16BE -finput-charset=utf-8", "utf-8"),
    ],
)
def test_other_character_sets_are_converted_on_a_node(
    farm: Farm, tmp_path: Path, words: str, encoding: str
) -> None:
    need("gcc")
    letter = "가" if encoding == "euc-kr" else "e" if "IBM" in words else "é"
    text = f'const char *a = "{letter}";\nconst void *w = L"{letter}";\n'
    (tmp_path / "a.c").write_bytes(text.encode(encoding))
    before, wrong = remote(farm), farm.stats()["discrepancies"]
    # A system header would be read in the same set.
    both_ways(farm, tmp_path, "gcc", *words.split(), "-c", "a.c")
    assert remote(farm) == before + 1
    assert farm.stats()["discrepancies"] == wrong


def test_a_set_that_nobody_knows_is_the_compilers_error(farm: Farm, tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "a.c").write_text("int x;\n")
    both_ways(farm, tmp_path, "gcc", "-finput-charset=nonsense", "-c", "a.c", ends="compile-error")
