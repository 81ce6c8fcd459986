"""Module maps without modules, as Bazel's layering check has them: clang asks for each header in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import ZCC, both_ways
from tests.e2e.test_hazards import put
from tests.e2e.test_profiles import reasons, remote

BAZEL = (
    *("-fmodule-name=//lib:lib", "-fmodule-map-file=lib/lib.cppmap"),
    *("-Xclang", "-fmodule-map-file-home-is-cwd", "-fmodules-strict-decluse", "-Wprivate-header"),
)
LIB = """module "//lib:lib" {{
  header "{0}a.h"
  private header "{0}p.h"
  textual header "{0}t.inc" // read by nobody
  export *
  use "//dep:dep"
}}
extern module "//dep:dep" "{1}dep.cppmap"
"""
DEP = """module "//dep:dep" {{
  header "{0}d.h"
  module "sub" {{ header "{0}missing.h" }}
  umbrella "{0}more"
}}
"""
SOURCE = (
    '#include "lib/a.h"\n#include "dep/d.h"\n#include "other.h"\nint f(void) { return A + D; }\n'
)


def library(top: Path, from_cwd: bool) -> None:
    names = ("lib/", "dep/", "dep/") if from_cwd else ("", "../dep/", "")
    put(
        top,
        {
            "lib/a.h": "#define A 1\n",
            "lib/p.h": "\n",
            "lib/t.inc": "\n",
            "dep/d.h": "#define D 2\n",
            "dep/more/m.h": "\n",
            "other.h": "\n",
            "lib/lib.cppmap": LIB.format(*names[:2]),
            "dep/dep.cppmap": DEP.format(names[2]),
            "x.cc": SOURCE,
        },
    )


@pytest.mark.parametrize("extra", [(), ("-MD",), ("-Werror", "-g")])
def test_maps_and_the_headers_in_them_go_along(
    farm: Farm, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    need("clang")
    library(tmp_path, from_cwd=True)
    (tmp_path / "x.cc").write_text(SOURCE.replace('#include "other.h"\n', ""))
    before = remote(farm)
    both_ways(farm, tmp_path, "clang", *BAZEL, *extra, "-I.", "-c", "x.cc")
    assert remote(farm) == before + 1


def test_what_belongs_to_no_module_is_an_error_as_it_is_here(farm: Farm, tmp_path: Path) -> None:
    need("clang")
    library(tmp_path, from_cwd=True)
    before = reasons(farm, "compile-error")
    both_ways(farm, tmp_path, "clang", *BAZEL, "-I.", "-c", "x.cc", ends="compile-error")
    assert reasons(farm, "compile-error") == before + 1


@pytest.mark.parametrize("spelled", ["-fmodule-map-file=", "-Xclang -fmodule-map-file="])
@pytest.mark.parametrize("check", ["-fmodules-decluse", "-Wno-error=private-header -MD"])
def test_names_are_relative_to_their_map(
    farm: Farm, tmp_path: Path, spelled: str, check: str
) -> None:
    need("clang")
    library(tmp_path, from_cwd=False)
    (tmp_path / "x.cc").write_text(SOURCE + '#include "lib/p.h"\n')
    words = f"{spelled}lib/lib.cppmap -fmodule-name=//other:other {check}".split()
    before = remote(farm)
    if check == "-fmodules-decluse":
        both_ways(farm, tmp_path, "clang", *words, "-I.", "-c", "x.cc", ends="compile-error")
    else:
        both_ways(farm, tmp_path, "clang", *words, "-I.", "-c", "x.cc")
        assert remote(farm) == before + 1


def test_a_header_of_a_map_that_comes_or_goes_is_noticed(remembering: Farm, tmp_path: Path) -> None:
    """No file that the compiler reads changes, and what it says does."""
    need("clang")
    library(tmp_path, from_cwd=False)
    (tmp_path / "x.cc").write_text('#include "lib/a.h"\n#include "lib/p.h"\n')
    words = (
        "-fmodule-map-file=lib/lib.cppmap",
        "-Wno-error=private-header",
        "-Wincomplete-umbrella",
    )
    command = ("clang", *words, "-I.", "-c", "x.cc")
    before = remembering.stats()["outcomes"]
    both_ways(remembering, tmp_path, *command)
    (tmp_path / "x.o").unlink()
    both_ways(remembering, tmp_path, *command)
    between = remembering.stats()["outcomes"]
    assert between["local_hit"] == before["local_hit"] + 1
    (tmp_path / "x.o").unlink()
    (tmp_path / "dep" / "missing.h").write_text("\n")
    both_ways(remembering, tmp_path, *command)
    assert remembering.stats()["outcomes"]["remote"] == between["remote"] + 1


def test_a_map_leads_out_of_the_project_only_as_far_as_the_compiler_goes(
    farm: Farm, tmp_path: Path
) -> None:
    """Whoever writes a map does not get to send a file away that nobody includes."""
    need("clang")
    top = tmp_path / "p"
    put(top, {".git/x": "", "m.map": 'module m { header "../secret.h" }\n', "x.c": "int x;\n"})
    (tmp_path / "secret.h").write_text("secret\n")
    refused = farm.run(ZCC, "clang", "-fmodule-map-file=m.map", "-c", "x.c", cwd=top)
    assert (refused.returncode, b"secret.h" in refused.stderr) == (1, True)
    both_ways(farm, top, "clang", "-fmodule-map-file=m.map", "-c", "x.c", ends="proof")


def test_a_map_that_is_read_differently_by_nobody_knows_whom_stays_here(
    farm: Farm, tmp_path: Path
) -> None:
    need("clang")
    put(tmp_path, {"m.map": 'module m { header "a\\x2eh" }\n', "a.h": "", "x.c": "int x;\n"})
    before = reasons(farm, "module-map")
    both_ways(farm, tmp_path, "clang", "-fmodule-map-file=m.map", "-c", "x.c", ends="module-map")
    assert reasons(farm, "module-map") == before + 1
