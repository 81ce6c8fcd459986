"""What clang's module maps name."""

from __future__ import annotations

from pathlib import Path

import pytest

from zcc.compiler.scan.module_maps import ModuleMap, ModuleMaps, parse_map
from zcc.errors import CompilerError


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b'module a { header "a.h" link "z" }', ModuleMap(headers=(b"a.h",))),
        (b'module "//x:y" { private textual header "p.h" use "q" export * }', ModuleMap(headers=(b"p.h",))),
        (b'module a { umbrella header "u" exclude header "e" {size 4} }', ModuleMap(headers=(b"u", b"e"))),
        (b'module a { umbrella "dir" module * { export * } }', ModuleMap(directories=(b"dir",))),
        (b'extern module "//d" "d.map" extern module e.f "f.map"', ModuleMap(maps=(b"d.map", b"f.map"))),
        (b'// header "no.h"\n/* header "no.h"\n */ module a [system] { conflict b, "t" }', ModuleMap()),
        (b'module header { header\n/* here */\n"a b.h" }', ModuleMap(headers=(b"a b.h",))),
        (b'module "header" { link framework "F" }', ModuleMap()),
        (b"", ModuleMap()),
    ],
)  # fmt: skip
def test_a_map_names_headers_directories_and_further_maps(text: bytes, named: ModuleMap) -> None:
    assert parse_map(text) == named


@pytest.mark.parametrize("text", [b'header "a\\"b.h"', b'header "a\nb.h"', b'header "a\\x41.h"'])
def test_a_name_that_cannot_be_told_is_refused(text: bytes) -> None:
    with pytest.raises(CompilerError):
        parse_map(text)


def test_further_maps_are_read_from_the_maps_directory_and_from_here(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "top.map").write_text(
        'extern module s "s/module.modulemap"\nmodule t { header "t.h" }'
    )
    (tmp_path / "s" / "module.modulemap").write_text(
        'module s { header "../h.h" umbrella "d" }\nextern module t "top.map" extern module n "none"'
    )
    (tmp_path / "s" / "module.private.modulemap").write_text('module p { header "/p.h" }')
    named = ModuleMaps().named([b"top.map"], bytes(tmp_path))
    assert set(named.mentioned) == {
        b"top.map", b"t.h", b"s/module.modulemap", b"s/../h.h", b"../h.h", b"s/top.map", b"s/none",
        b"none", b"s/module.private.modulemap", b"/p.h",
    }  # fmt: skip
    assert set(named.directories) == {b"s/d", b"d"}


def test_a_map_that_changed_is_read_again(tmp_path: Path) -> None:
    maps, path = ModuleMaps(), tmp_path / "a.map"
    path.write_text('module a { header "a.h" }')
    assert maps.named([b"a.map"], bytes(tmp_path)).mentioned == (b"a.map", b"a.h")
    path.write_text('module a { header "longer.h" }')
    assert maps.named([b"a.map"], bytes(tmp_path)).mentioned == (b"a.map", b"longer.h")
    path.unlink()
    assert maps.named([b"a.map"], bytes(tmp_path)).mentioned == (b"a.map",)


def test_a_map_with_a_name_that_cannot_be_told_says_where(tmp_path: Path) -> None:
    (tmp_path / "a.map").write_text('module a { header "\\n.h" }')
    with pytest.raises(CompilerError, match=r"a\.map"):
        ModuleMaps().named([b"a.map"], bytes(tmp_path))
