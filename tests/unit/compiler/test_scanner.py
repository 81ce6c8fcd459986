"""What a scan finds, what it refuses, and what it remembers, on a real disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.blobs import PLAIN_MTIME_S
from zcc.compiler.commandline.make_rule import LISTING_TARGET, parse_listing
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, Trail
from zcc.compiler.disk.signatures import RACY_WINDOW_NS, Signature, signature_of
from zcc.compiler.scan.closure import (
    Closure,
    Forced,
    NotBounded,
    NotScannable,
    ScanRequest,
    is_project,
    is_too_wide,
    project_root,
)
from zcc.compiler.scan.scanner import Answer, Scanner
from zcc.compiler.scan.search_list import (
    SearchKey,
    SearchList,
    SearchMemo,
    parse_search_list,
    query_arguments,
)
from zcc.compiler.text.hazards import Hazard
from zcc.compiler.text.lexing import Lexis
from zcc.errors import CompilerError
from zcc.reasons import Reason

LATER_NS = 10 * RACY_WINDOW_NS


class Project:
    """A directory with sources, a scanner on it, and a clock that a scan moves on."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.wall_ns = 0  # long before any file was written: each counts as just changed
        self.disk = Disk(wall_ns=lambda: self.wall_ns)
        self.scanner = Scanner(self.disk, b"/nobody/home")
        self.now = 0.0
        self.request = ScanRequest(
            cwd=os.fsencode(top),
            source=b"a.c",
            language="c",
            search=SearchList(),
            roots=(os.fsencode(top),),
        )

    def settle(self) -> None:
        """Let the wall clock be so late that no file counts as just changed."""
        self.wall_ns = os.stat(self.top).st_ctime_ns + LATER_NS

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.put(name.replace("__", "/").replace("_", "."), text)

    def put(self, path: str, text: str | bytes = "") -> None:
        place = self.top / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)

    def scan(self, waited_since: float | None = None, **changes: Any) -> Answer:
        self.now += 1.0
        request = replace(self.request, **changes)
        return self.scanner.scan(request, self.now, waited_since)

    def closure(self, **changes: Any) -> Closure:
        answer = self.scan(**changes)
        assert isinstance(answer, Closure), answer
        return answer

    def found(self, **changes: Any) -> set[str]:
        manifest = self.closure(**changes).manifest
        return {os.path.relpath(os.fsdecode(file.path), self.top) for file in manifest.files}

    def search(self, *angle: bytes, **more: Any) -> SearchList:
        return SearchList(angle=angle, **more)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path.resolve())


def test_a_quoted_name_is_found_beside_its_includer_first(project: Project) -> None:
    project.write(a_c='#include "sub/b.h"\n', sub__b_h='#include "c.h"\n', sub__c_h="", c_h="")
    assert project.found() == {"a.c", "sub/b.h", "sub/c.h"}


def test_an_angled_name_is_found_in_the_search_list_only(project: Project) -> None:
    project.write(a_c="#include <b.h>\n", b_h="", i__b_h="", j__b_h="")
    assert project.found(search=project.search(b"i", b"j")) == {"a.c", "i/b.h"}


def test_a_quoted_name_goes_on_to_the_quote_list_and_the_search_list(project: Project) -> None:
    project.write(a_c='#include "b.h"\n#include "c.h"\n#include <d.h>\n')
    project.write(q__b_h="", q__d_h="", i__b_h="", i__c_h="", i__d_h="")
    search = project.search(b"i", quote=(b"q",))
    assert project.found(search=search) == {"a.c", "q/b.h", "i/c.h", "i/d.h"}


def test_the_split_option_takes_the_includers_directory_out(project: Project) -> None:
    project.write(a_c='#include "b.h"\n', b_h="", i__b_h="")
    search = project.search(b"i", skips_includer=True)
    assert project.found(search=search) == {"a.c", "i/b.h"}


def test_include_next_takes_every_candidate(project: Project) -> None:
    project.write(a_c="#include <b.h>\n", i__b_h="#include_next <b.h>\n", j__b_h="", k__b_h="")
    assert project.found(search=project.search(b"i", b"j", b"k")) == {
        "a.c",
        "i/b.h",
        "j/b.h",
        "k/b.h",
    }


def test_a_directory_of_the_wanted_name_is_passed_over_and_shown(project: Project) -> None:
    project.write(a_c="#include <b>\n", j__b="")
    (project.top / "i" / "b").mkdir(parents=True)
    closure = project.closure(search=project.search(b"i", b"j"))
    assert os.fsencode(project.top / "i" / "b") in closure.manifest.directories
    assert closure.file_count == 2


def test_a_file_where_a_directory_is_wanted_is_passed_over(project: Project) -> None:
    project.write(a_c="#include <b/c.h>\n", i__b="", j__b__c_h="")
    search = project.search(b"i", b"j")
    assert project.found(search=search) == {"a.c", "j/b/c.h"}
    (project.top / "i" / "b").unlink()
    project.put("i/b/c.h")
    assert project.found(search=search) == {"a.c", "i/b/c.h"}


def test_what_is_probed_is_shipped_and_not_followed(project: Project) -> None:
    project.write(a_c='#if __has_include("b.h")\n#endif\n', b_h='#include "c.h"\n', c_h="")
    assert project.found() == {"a.c", "b.h"}


def test_the_file_that_gcc_reads_unasked_is_shipped(project: Project) -> None:
    project.put("a.c")
    project.put("i/stdc-predef.h")
    assert project.found(search=project.search(b"i")) == {"a.c", "i/stdc-predef.h"}


def test_forced_includes_look_in_the_working_directory_first(project: Project) -> None:
    project.write(s__a_c="", f_h='#include "g.h"\n', g_h="", s__f_h="", i__m_h="")
    forced = ((Forced.INCLUDE, b"f.h"), (Forced.MACROS, b"m.h"))
    found = project.found(source=b"s/a.c", forced=forced, search=project.search(b"i"))
    assert found == {"s/a.c", "f.h", "g.h", "i/m.h"}


def test_a_missing_input_makes_a_compile_local(project: Project) -> None:
    assert project.scan() == NotScannable(Reason.MISSING_INPUT, b"a.c")
    project.put("a.c")
    missing = NotScannable(Reason.MISSING_INPUT, b"no")
    assert project.scan(extra_inputs=(b"no",)) == missing
    assert project.scan(forced=((Forced.INCLUDE, b"no"),)) == missing


def test_an_optional_input_is_shipped_when_it_appears(project: Project) -> None:
    project.put("a.c")
    assert project.found(optional_inputs=(b"p/x.afdo",)) == {"a.c"}
    project.put("p/x.afdo")
    assert project.found(optional_inputs=(b"p/x.afdo",)) == {"a.c", "p/x.afdo"}


# Symlinks, directories, twins


def test_links_on_the_way_are_recorded_with_their_literal_targets(project: Project) -> None:
    project.write(a_c="#include <b.h>\n", real__x__b_h='#include "c.h"\n', real__inc__c_h="")
    (project.top / "real" / "inc" / "b.h").symlink_to("../x/b.h")
    (project.top / "i").symlink_to("real/inc")
    closure = project.closure(search=project.search(b"i"))
    top = os.fsencode(project.top)
    assert closure.manifest.symlinks == (
        (top + b"/i", b"real/inc"),
        (top + b"/real/inc/b.h", b"../x/b.h"),
    )
    # The includer's directory is the one that it was found in, not the one that the link leads to.
    assert top + b"/real/inc/c.h" in [file.path for file in closure.manifest.files]


def test_a_dangling_link_is_recorded_and_passed_over(project: Project) -> None:
    project.write(a_c="#include <b.h>\n", j__b_h="")
    (project.top / "i").mkdir()
    (project.top / "i" / "b.h").symlink_to("nowhere")
    search = project.search(b"i", b"j")
    closure = project.closure(search=search)
    assert closure.manifest.symlinks == ((os.fsencode(project.top) + b"/i/b.h", b"nowhere"),)
    assert project.found(search=search) == {"a.c", "j/b.h"}
    project.put("i/nowhere")
    assert project.found(search=search) == {"a.c", "i/nowhere"}


def test_a_loop_of_links_is_no_closure(project: Project) -> None:
    project.put("a.c", '#include "b.h"\n')
    (project.top / "b.h").symlink_to("b.h")
    answer = project.scan()
    assert isinstance(answer, NotBounded)
    assert answer.reason is Reason.DISK


def test_a_directory_before_dotdot_has_to_exist(project: Project) -> None:
    project.write(a_c='#include "foo/../b.h"\n', b_h="")
    assert project.closure().misses == {os.fsencode(project.top): (b"foo",)}
    (project.top / "foo").mkdir()
    closure = project.closure()
    assert closure.manifest.directories == (os.fsencode(project.top) + b"/foo",)
    assert project.found() == {"a.c", "b.h"}


def test_dotdot_after_a_link_is_where_the_kernel_goes(project: Project) -> None:
    project.write(a_c='#include "l/../b.h"\n', b_h="", far__b_h="", far__d__x="")
    (project.top / "l").symlink_to("far/d")
    assert project.found() == {"a.c", "far/b.h"}


def test_empty_directories_of_the_search_and_of_outputs_are_shown(project: Project) -> None:
    project.write(a_c="")
    for name in ("i", "out"):
        (project.top / name).mkdir()
    (project.top / "dup").symlink_to("i")
    top = os.fsencode(project.top)
    search = project.search(b"i", ignored=(b"none",), duplicates=(b"dup",))
    closure = project.closure(search=search, directories=(b"out", b"absent"))
    assert closure.manifest.directories == (top + b"/i", top + b"/out")
    assert closure.manifest.symlinks == ((top + b"/dup", b"i"),)
    assert set(closure.misses[top]) == {b"absent", b"none"}


def test_an_outdated_search_list_is_no_closure(project: Project) -> None:
    project.write(a_c="", i__x="")
    assert isinstance(project.scan(search=project.search(b"none")), NotBounded)
    assert isinstance(project.scan(search=project.search(ignored=(b"i",))), NotBounded)


def test_twins_are_numbered_by_whole_seconds(project: Project) -> None:
    includes = "".join(f'#include "{name}.h"\n' for name in "bcde")
    project.write(a_c=includes, b_h="same", c_h="same", d_h="same", e_h="other")
    for name, time_ns in (("b", 5_100_000_000), ("c", 7_000_000_000), ("d", 5_900_000_000)):
        os.utime(project.top / f"{name}.h", ns=(time_ns, time_ns))
    twins = {file.path[-3:]: file.twin for file in project.closure().manifest.files}
    assert twins == {b"a.c": 0, b"b.h": 0, b"c.h": 1, b"d.h": 0, b"e.h": 0}


def test_hard_links_are_recorded(project: Project) -> None:
    project.write(a_c='#include "b.h"\n#include "c.h"\n', b_h="")
    os.link(project.top / "b.h", project.top / "c.h")
    top = os.fsencode(project.top)
    manifest = project.closure().manifest
    assert manifest.hard_links == ((top + b"/c.h", top + b"/b.h"),)
    # A path is named once, or a node would refuse the job.
    assert [file.path for file in manifest.files] == [top + b"/a.c", top + b"/b.h"]


def one_inode_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system that passes on the inodes of several devices has it for some."""

    def signature(status: os.stat_result) -> Signature:
        return (*signature_of(status)[:3], 7, 7)

    monkeypatch.setattr("zcc.compiler.disk.disk.signature_of", signature)


def test_files_that_share_an_inode_and_differ_are_no_links(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_inode_for_all(monkeypatch)
    project.write(a_c='#include "b.h"\n', b_h="")
    answer = project.scan()
    assert answer == NotScannable(Reason.SHARED_INODE, os.fsencode(project.top / "b.h"))


def test_files_that_share_an_inode_are_links_as_long_as_they_do_not_differ(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_inode_for_all(monkeypatch)
    text = '#include "b.h"\n#include "c.h"\n'
    project.write(a_c=text, b_h=text, c_h=text)
    top = os.fsencode(project.top)
    manifest = project.closure().manifest
    assert [file.path for file in manifest.every_name()] == [
        top + b"/a.c",
        top + b"/b.h",
        top + b"/c.h",
    ]
    project.put("c.h", text + "\n")
    answer = project.scan()
    assert answer == NotScannable(Reason.SHARED_INODE, top + b"/c.h")


def test_a_search_directory_under_two_names_stays_here(project: Project) -> None:
    """The compiler searches the first alone, by its inode; a node's disk has two directories."""
    project.write(a_c="", i__x="", j__x="")
    answer = project.scan(search=project.search(b"i", duplicates=(b"j",)))
    assert answer == NotScannable(Reason.SHARED_INODE, b"j")


# What is refused


def test_a_file_beyond_the_roots_is_never_shipped(project: Project) -> None:
    project.write(p__a_c='#if 0\n#include "../../secret"\n#include "../secret"\n#endif\n')
    project.put("secret")
    root = os.fsencode(project.top / "p")
    answer = project.scan(cwd=root, roots=(root,))
    assert answer == NotBounded(Reason.OUTSIDE_ROOTS, os.fsencode(project.top) + b"/secret")
    assert project.found(cwd=root, roots=(os.fsencode(project.top),)) == {"p/a.c", "secret"}


def test_a_link_out_of_the_roots_does_not_lead_out(project: Project) -> None:
    project.write(p__a_c='#include "b.h"\n', secret="")
    (project.top / "p" / "b.h").symlink_to("../secret")
    root = os.fsencode(project.top / "p")
    answer = project.scan(cwd=root, roots=(root,))
    assert answer == NotBounded(Reason.OUTSIDE_ROOTS, os.fsencode(project.top) + b"/secret")


def test_outside_of_checkouts_the_search_directories_tell_the_extent(project: Project) -> None:
    """A tarball that is built elsewhere: `../b.h` lies neither beside the source nor below an -I."""
    project.write(p__src__x__a_c='#include "../b.h"\n', p__src__b_h='#include "../../secret"\n')
    project.write(p__include__c_h="", secret="")
    top = os.fsencode(project.top)
    source = top + b"/p/src/x"
    request: dict[str, Any] = {
        "source": source + b"/a.c",
        "cwd": top + b"/build",
        "roots": (source,),
    }
    (project.top / "build").mkdir()
    beside = NotBounded(Reason.OUTSIDE_ROOTS, top + b"/p/src/b.h")
    assert project.scan(**request) == beside
    search = project.search(top + b"/p/include")
    assert project.scan(**request, search=search) == beside
    (project.top / "secret").unlink()
    found = {"p/src/x/a.c", "p/src/b.h"}
    assert project.found(**request, search=search, loose=source) == found
    project.put("secret")
    project.scanner = Scanner(project.disk, top)
    assert project.scan(**request, loose=source) == beside
    answer = project.scan(**request, search=search, loose=source)
    assert answer == NotBounded(Reason.OUTSIDE_ROOTS, top + b"/secret")


def test_what_holds_a_source_and_its_headers_is_a_project_far_enough_down() -> None:
    home = b"/home/u"
    assert is_project(b"/home/u/p", home)
    assert is_project(b"/srv/p", home)
    for path in (b"/", b"/tmp", b"/home", b"/home/u", b"/home/other", b"/export/home/other"):
        assert not is_project(path, home)


def test_home_is_no_root_even_when_it_is_searched(project: Project) -> None:
    project.write(home__a_c='#include "b.h"\n', home__b_h="")
    home = os.fsencode(project.top / "home")
    project.scanner = Scanner(project.disk, home)
    answer = project.scan(cwd=home, roots=(home,), search=project.search(home, b"/"))
    assert answer == NotBounded(Reason.OUTSIDE_ROOTS, home + b"/b.h")


def test_the_project_root_is_the_nearest_checkout_below_home() -> None:
    marks = {b"/home/u/.git", b"/home/u/p/.hg", b"/.git", b"/src/x/.git"}

    def root(at: bytes) -> bytes:
        return project_root(at, b"/home/u", marks.__contains__)

    assert root(b"/home/u/p/a/b") == b"/home/u/p"
    assert root(b"/home/u/q/a") == b"/home/u/q/a"
    assert root(b"/home/u") == b"/home/u"
    assert root(b"/src/x/y") == b"/src/x"
    assert root(b"/srv/y") == b"/srv/y"
    assert is_too_wide(b"/home", b"/home/u")
    assert not is_too_wide(b"/home/u/p", b"/home/u")


@pytest.mark.parametrize("where", ["b.h.gch", "i/b.h.gch", "a.c.gch"])
def test_a_precompiled_header_goes_along_with_the_text_for_gcc(
    project: Project, where: str
) -> None:
    project.write(a_c='#include "b.h"\n', j__b_h="", i__x="")
    search = project.search(b"i", b"j")
    before = project.closure(search=search)
    assert project.scan(search=search) is before
    project.put(where)
    assert project.found(search=search) == {"a.c", "j/b.h", where}
    assert project.found(search=search, is_clang=True) == {"a.c", "j/b.h"}
    os.unlink(project.top / where)
    assert project.found(search=search) == {"a.c", "j/b.h"}


def fill(project: Project, **headers: str) -> bytes:
    """A directory of precompiled headers; its physical path."""
    above = project.top / "b.h.gch"
    above.mkdir(exist_ok=True)
    for name, text in headers.items():
        (above / name).write_text(text)
    return os.fsencode(above)


def test_a_directory_with_one_header_for_this_language_goes_along_as_a_whole(
    project: Project,
) -> None:
    project.write(a_c='#include "b.h"\n', b_h="")
    path = fill(project, c="gpchC014")
    closure = project.closure()
    assert closure.listed == (path,)
    assert project.found() == {"a.c", "b.h", "b.h.gch/c"}
    assert project.scan() is closure
    fill(project, cxx="gpch+014", x="junk")
    assert project.found() == {"a.c", "b.h", "b.h.gch/c", "b.h.gch/cxx", "b.h.gch/x"}
    os.unlink(project.top / "b.h.gch" / "c")
    assert project.found() == {"a.c", "b.h", "b.h.gch/cxx", "b.h.gch/x"}


def test_a_directory_in_which_the_order_matters_makes_gcc_local(project: Project) -> None:
    project.write(a_c='#include "b.h"\n', b_h="")
    path = fill(project, one="gpchC014", other="gpch+014")
    local = NotScannable(Reason.PRECOMPILED_HEADER, path)
    assert project.scan(tells_precompiled=True) == local
    assert project.scan() != local
    fill(project, third="gpchC014")
    assert project.scan() == local
    os.unlink(project.top / "b.h.gch" / "third")
    assert project.scan() != local
    (project.top / "b.h.gch" / "link").symlink_to("one")
    assert project.scan() == local


def test_a_precompiled_header_of_clangs_goes_along_with_the_times_of_all(project: Project) -> None:
    project.write(a_c="", b_h="", b_h_pch="PCH", other_pch="other")
    os.utime(project.top / "b.h", (PLAIN_MTIME_S + 7, PLAIN_MTIME_S + 7))
    forced = ((Forced.INCLUDE, b"b.h"),)
    assert project.found(forced=forced) == {"a.c", "b.h"}

    def times(**changes: Any) -> dict[str, int]:
        files = project.closure(is_clang=True, **changes).manifest.files
        return {os.path.basename(os.fsdecode(file.path)): file.twin for file in files}

    shipped = times(forced=forced)
    assert shipped.keys() == {"a.c", "b.h", "b.h.pch"}
    assert shipped["b.h"] == 7
    assert times(precompiled=(b"other.pch",)).keys() == {"a.c", "other.pch"}
    os.utime(project.top / "b.h", (PLAIN_MTIME_S + 9, PLAIN_MTIME_S + 9))
    assert times(forced=forced)["b.h"] == 9
    os.utime(project.top / "b.h", (1, 1))
    answer = project.scan(is_clang=True, forced=forced)
    assert answer == NotBounded(Reason.DISK, b"old-time " + os.fsencode(project.top / "b.h"))


def test_time_macros_make_a_compile_local(project: Project) -> None:
    project.write(a_c='#include "b.h"\n', b_h="char t[] = __TIME__;\n")
    local = NotScannable(Reason.TIME_MACRO, os.fsencode(project.top / "b.h"))
    assert project.scan() == local
    assert isinstance(project.scan(has_source_date_epoch=True), Closure)
    project.write(b_h="char t[] = __TIMESTAMP__;\n")
    assert project.scan(has_source_date_epoch=True) == local
    project.write(b_h="")
    assert project.scan(defines=(b"X=__DATE__",)) == NotScannable(Reason.TIME_MACRO, b"__DATE__")


def test_a_time_in_a_string_counts_where_a_macro_makes_pragmas_of_strings(project: Project) -> None:
    project.write(a_c='#include "b.h"\n#include "c.h"\n', b_h='P("message(__TIME__)")\n', c_h="")
    local = NotScannable(Reason.TIME_MACRO, os.fsencode(project.top / "b.h"))
    assert isinstance(project.scan(lexis=Lexis.C), Closure)
    assert project.scan(lexis=Lexis.C, defines=(b"P(x)=_Pragma(x)",)) == local
    project.write(c_h="#define P(x) _Pragma(x)\n")
    assert project.scan(lexis=Lexis.C) == local
    project.write(a_c='#include "c.h"\n#include "b.h"\n')
    assert project.scan(lexis=Lexis.C) == local


def test_words_in_comments_count_where_comments_are_other_ones(project: Project) -> None:
    project.write(a_c="// __TIME__\n")
    assert isinstance(project.scan(lexis=Lexis.CXX), Closure)
    assert isinstance(project.scan(lexis=Lexis.OLD), NotScannable)
    assert isinstance(project.scan(lexis=Lexis.C, language="assembler-with-cpp"), Closure)


def test_what_the_assembler_reads_before_a_source_is_followed(project: Project) -> None:
    project.write(a_c="", m_s='.include "more.s"\n# don\'t __TIME__\n', more_s="")
    assert project.found(assembler_sources=(b"m.s",)) == {"a.c", "m.s", "more.s"}
    assert project.scan(assembler_sources=(b"n.s",)) == NotScannable(Reason.MISSING_INPUT, b"n.s")


@pytest.mark.parametrize(
    ("source", "mapper", "is_plain"),
    [
        ("int module; /* import a; */\n", "$root .\n", True),
        ("int a;\n", "", True),
        ("export module a;\n", "$root .\n", False),
        ("module;\n", "$root .\n", False),
        (" import <vector>;\n", "$root .\n", False),
        ("export\nimport a;\n", "$root .\n", False),
        ('#include "b.h"\n', "$root .\n", False),
        ("int a;\n", "$root .\na a.gcm\n", False),
        ("int a;\n", "$rooted x\n", False),
    ],
)
def test_a_source_without_modules_is_ordinary_where_they_are_on(
    project: Project, source: str, mapper: str, is_plain: bool
) -> None:
    project.write(a_c=source, b_h="import b;\n", m=mapper)
    answer = project.scan(has_modules=True, module_mapper=b"m", language="c++", lexis=Lexis.CXX)
    assert isinstance(answer, Closure) is is_plain
    if not is_plain:
        assert isinstance(answer, NotScannable)
        assert answer.reason is Reason.MODULES


def test_a_forced_header_may_be_there_precompiled_only(project: Project) -> None:
    forced = ((Forced.INCLUDE, b"out/q"),)
    project.write(a_c="")
    assert project.scan(forced=forced) == NotScannable(Reason.MISSING_INPUT, b"out/q")
    project.put("out/q.gch", "gpchC013")
    assert project.found(forced=forced) == {"a.c", "out/q.gch"}
    (project.top / "out/q.gch").unlink()
    assert project.scan(forced=forced) == NotScannable(Reason.MISSING_INPUT, b"out/q")
    project.put("out/q.gch/c", "gpchC013")
    assert project.found(forced=forced) == {"a.c", "out/q.gch/c"}


def test_what_the_command_line_defines_anew_is_no_time(project: Project) -> None:
    project.write(a_c='#include "b.h"\n', b_h="char t[] = __DATE__ __TIME__;\n")
    local = NotScannable(Reason.TIME_MACRO, os.fsencode(project.top / "b.h"))
    redacted = (b'__DATE__="redacted"', b"__TIME__", b" __TIMESTAMP__(x)=x")
    assert isinstance(project.scan(defines=redacted[:2]), Closure)
    assert project.scan(defines=redacted[:1]) == local
    assert isinstance(project.scan(defines=(*redacted, b"X=__TIMESTAMP__")), Closure)
    swapped = (b"__DATE__=__TIME__", b"__TIME__=__TIMESTAMP__")
    assert project.scan(defines=swapped) == NotScannable(Reason.TIME_MACRO, b"__TIMESTAMP__")
    project.write(b_h="char t[] = __TIMESTAMP__;\n")
    assert project.scan(defines=redacted[:2]) == local
    assert isinstance(project.scan(defines=redacted), Closure)


def test_literal_assembler_inputs_are_shipped(project: Project) -> None:
    project.write(s__a_s='.incbin "d.bin"\n.include "e.inc"\n', d_bin="", w__e_inc='.incbin "f"\n')
    request: dict[str, Any] = {
        "source": b"s/a.s",
        "language": "assembler",
        "assembler_directories": (b"w",),
    }
    assert project.scan(**request) == NotScannable(Reason.ASSEMBLER_INPUT, b"f")
    project.put("w/f")
    assert project.found(**request) == {"s/a.s", "d.bin", "w/e.inc", "w/f"}


def test_a_utf16_source_is_not_bounded(project: Project) -> None:
    project.put("a.c", '#include "b.h"\n'.encode("utf-16"))
    assert project.scan() == NotBounded(Reason.ENCODING, os.fsencode(project.top / "a.c"))


def test_a_fifo_is_not_read(project: Project) -> None:
    project.put("a.c", '#include "b.h"\n')
    os.mkfifo(project.top / "b.h")
    answer = project.scan()
    assert isinstance(answer, NotScannable)  # a listing would take what is in it
    assert answer.reason is Reason.SPECIAL_FILE


# Computed includes


STRINGS = "#define S(x) #x\n#define Q(x) S(x)\n"


def test_a_name_that_is_pasted_of_an_argument_is_found(project: Project) -> None:
    project.write(a_c=STRINGS + "#define X(n) Q(h##n.h)\n#include X(1)\n")
    project.put("h1.h", "")
    assert project.found() == {"a.c", "h1.h"}


def test_a_name_that_holds_what_only_the_compiler_defines_is_not_bounded(project: Project) -> None:
    """As Linux had it up to 4.1."""
    pasted = "#define P(x) S(linux/compiler-gcc##x.h)\n#define G(x) P(x)\n#include G(__GNUC__)\n"
    project.write(a_c=STRINGS + pasted)
    answer = project.scan()
    assert isinstance(answer, NotBounded)
    assert answer.reason is Reason.COMPUTED_INCLUDE


def test_a_computed_include_follows_every_definition(project: Project) -> None:
    project.write(a_c='#include "n.h"\n#include NAME\n')
    project.write(n_h='#if X\n#define NAME "b.h"\n#else\n# define NAME OTHER\n#endif\n')
    project.write(b_h='#define OTHER <d.h> // last\n#include "e.h"\n', e_h="", i__d_h="", c_h="")
    found = project.found(search=project.search(b"i"), defines=(b'NAME="c.h"',))
    assert found == {"a.c", "n.h", "b.h", "c.h", "e.h", "i/d.h"}


def test_a_definition_found_late_is_followed_too(project: Project) -> None:
    project.write(
        a_c='#define N "b.h"\n#include N\n', b_h='#undef N\n#define N "c.h"\n#include N\n'
    )
    project.write(c_h="")
    assert project.found() == {"a.c", "b.h", "c.h"}


COMPUTED = {
    "a string made of a name": "#define S(x) #x\n#define N S(b.h)\n#include N\n",
    "a string made at one remove": "#define S_(x) #x\n#define S(x) S_(x)\n#define D d\n#include S(D/b.h)\n",
    "an argument in a name": "#define N(x) <x.h>\n#include N(b)\n",
    "an argument that is a macro": "#define B b\n#define I(x) <x.h>\n#define N(x) I(x)\n#include N(B)\n",
    "a name that is pasted": (
        '#define N_1 "b.h"\n#define CAT_(a, b) a ## b\n#define CAT(a, b) CAT_(a, b)\n'
        "#define K 1\n#include CAT(N_, K)\n"
    ),
    "a pasted tail": '#define CAT(a) a ## _HEADER\n#define X_HEADER "b.h"\n#include CAT(X)\n',
    "an iteration": (
        "#define PARAMS (1, 2, <b.h>)\n#define ELEM_2(a, b, c) c\n#define ELEM(n, all) ELEM_##n all\n"
        "#define FILE_1 ELEM(2, PARAMS)\n#include FILE_1\n"
    ),
    "an argument that is all of the name": "#define N(x) <x>\n#include N(b.h)\n",
    "the same at one remove": "#define I(x) <x>\n#define N(x) I(x)\n#define B b.h\n#include N(B)\n",
    "a name with a blank": "#define N <a b/b.h>\n#include N\n",
    "a blank from a macro": "#define A a b\n#define N <A/b.h>\n#include N\n",
    "a blank before a macro, which gets lost": "#define B b\n#define N < B.h>\n#include N\n",
    "a blank that a string keeps": "#define S_(x) #x\n#define S(x) S_(x)\n#include S( a b/b.h )\n",
    "an argument": "#define SAME(x) x\n#include SAME(<b.h>)\n",
    "a variadic macro": "#define LAST(a, ...) __VA_ARGS__\n#include LAST(1, <b.h>)\n",
    "a predefined name": "#define N <linux/b.h>\n#include N\n",
    "a plain word that is a macro elsewhere": "#define b 7\n#undef b\n#define N <b.h>\n#include N\n",
    "a comment like a definition": "// #define N my-header\n#define N <b.h>\n#include N\n",
    "itself": '#ifndef A\n#define A\n#include __FILE__\n#else\n#include "b.h"\n#endif\n',
}


@pytest.mark.parametrize("text", COMPUTED.values(), ids=COMPUTED)
def test_a_computed_include_is_followed_through_its_macros(project: Project, text: str) -> None:
    """The compiler agrees that it is that header."""
    project.put("a.c", text)
    places = ("b.h", "d/b.h", "linux/b.h", "a b/b.h")
    for place in places:
        project.put(place)
    found = project.found(search=project.search(b"."))
    target = os.fsdecode(LISTING_TARGET)
    command = ["gcc", "-I.", "-Ulinux", "-M", "-MT", target, "a.c"]
    listed = subprocess.run(command, cwd=project.top, capture_output=True, check=True).stdout
    meant = {os.fsdecode(path) for path in parse_listing(listed)} & {"a.c", *places}
    assert len(meant) == 2
    assert meant <= found


@pytest.mark.parametrize(
    "text",
    [
        "#define N <b\n#include N.h>\n",
        "#define N <b\n#define M N.h>\n#include M\n",
        "#define S(x) #x\n"
        + "".join(f"#define {name}{n} {n}\n" for name in "ABCDE" for n in range(9))
        + "".join(f"#define {name} {name}{n}\n" for name in "ABCDE" for n in range(9))
        + "#define T(x) S(x)\n#include T(A/B/C/D/E.h)\n",
    ],
)
def test_a_computed_include_of_another_kind_is_not_bounded(project: Project, text: str) -> None:
    project.put("a.c", text)
    answer = project.scan()
    assert isinstance(answer, NotBounded)
    assert answer.reason is Reason.COMPUTED_INCLUDE


def test_a_computed_include_without_definition_is_never_taken(project: Project) -> None:
    project.put("a.c", "#ifdef CONFIG\n#include CONFIG\n#endif\n/*\n#include files are nice\n*/\n")
    assert project.found() == {"a.c"}


@pytest.mark.parametrize("text", ["#define N < b.h>\n", "#define N <b.h >\n"])
def test_a_blank_at_the_end_of_a_name_counts(project: Project, text: str) -> None:
    """Before it gcc keeps it, behind it clang does."""
    for name in ("b.h", " b.h", "b.h "):
        project.put(name)
    project.put("a.c", text + "#include N\n")
    found = project.found(search=project.search(b"."))
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            command = [compiler, "-I.", "-M", "-MT", LISTING_TARGET, "a.c"]
            listed = subprocess.run(command, cwd=project.top, capture_output=True, check=True)
            meant = {os.fsdecode(path).removeprefix("./") for path in parse_listing(listed.stdout)}
            assert {name for name in meant if not name.startswith("/")} <= found


# Probes behind macros

HIDDEN = {
    "a macro for the name": "#define N <b.h>\n#if __has_include(N)\n",
    "a macro for all": '#define HAS(x) __has_include(x)\n#if HAS("b.h")\n',
    "an alias": "#define HAS __has_include\n#if HAS ( <b.h> )\n",
    "an alias at one remove": "#define H __has_include\n#define HAS H\n#if 0\n#elif HAS(<b.h>)\n",
    "the next": "#define HAS(x) __has_include_next(x)\n#if HAS(<b.h>)\n",
    "a name made of pieces": "#define HAS(d, n) __has_include(<d/n.h>)\n#if 1 && HAS(., b)\n",
    "a name that is an argument": "#define HAS(x) __has_include(<x>)\n#if HAS(b.h)\n",
    "a string made of a name": "#define S(x) #x\n#if __has_include(S(b.h))\n",
    "a condition that is a macro": '#define HAS(x) __has_include(x)\n#define B HAS("b.h")\n#if B\n',
    "two at once": '#define ANY(x, y) __has_include(x) || __has_include(y)\n#if ANY(<c.h>, "b.h")\n',
    "with a comment": '#define HAS __has_include\n#if /*\n*/ HAS /* (\n */ ("b.h")\n',
    "in digraphs": '%:define HAS(x) __has_include(x)\n%:if HAS("b.h")\n',
    "from the command line": "#if CONFIGURED\n",
    "named on the command line": "#if __has_include(CONFIG)\n",
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_probe_is_followed_through_its_macros(project: Project, text: str) -> None:
    project.put("a.c", text + "#endif\n")
    project.put("b.h", '#include "never.h"\n')
    project.put("never.h")
    defines = (b'CONFIG="b.h"', b'CONFIGURED=__has_include("b.h")')
    closure = project.closure(search=project.search(b"."), defines=defines)
    assert {os.path.basename(file.path) for file in closure.manifest.files} == {b"a.c", b"b.h"}
    assert not closure.doubts


def test_a_probe_in_a_macro_looks_beside_the_file_that_uses_it(project: Project) -> None:
    project.put("a.c", '#include "d/user.h"\n#include "e/macro.h"\n')
    project.put("d/user.h", "#if HAS_B\n#endif\n")
    project.put("e/macro.h", '#define HAS_B __has_include("b.h")\n')
    project.put("d/b.h")
    assert project.found() == {"a.c", "d/user.h", "d/b.h", "e/macro.h"}


def test_a_probed_header_that_comes_gives_another_closure(project: Project) -> None:
    project.put("a.c", '#define HAS __has_include\n#if HAS("b.h")\n#endif\n')
    assert project.found() == {"a.c"}
    project.put("b.h")
    assert project.found() == {"a.c", "b.h"}


def test_a_probe_of_too_many_names_is_left_to_the_proof(project: Project) -> None:
    text = "#define S(x) #x\n" + "".join(f"#define A A{n}\n#define A{n} {n}\n" for n in range(9))
    text += "#define T(x) S(x)\n#if __has_include(T(A/A/A/A/A/A/A.h))\n#endif\n"
    project.put("a.c", text)
    assert project.closure().doubts == {Hazard.HIDDEN_HAS_INCLUDE}


def test_clang_goes_on_with_what_a_wrong_name_may_mean(project: Project) -> None:
    """It reports the error, and reads the file for what else it may have to report."""
    project.put("d/a.c", '#include <b.h>\n#include "-c.h?"\n')
    for name in ("b.h", "c.h"):
        project.put(f"d/{name}")
    assert project.found(source=b"d/a.c") == {"d/a.c"}
    assert project.found(source=b"d/a.c", is_clang=True) == {"d/a.c", "d/b.h", "d/c.h"}


# What is remembered


def test_the_same_closure_is_given_while_nothing_changes(project: Project) -> None:
    project.write(a_c='#include "b.h"\n', b_h="")
    first = project.closure()
    project.settle()
    assert project.closure() is first
    assert project.closure() is first
    project.put("unrelated.o")
    assert project.closure() is first


def _edit(project: Project) -> None:
    project.put("b.h", "changed")


def _replace_by_link(project: Project) -> None:
    (project.top / "b.h").rename(project.top / "real.h")
    (project.top / "b.h").symlink_to("real.h")


def _move_its_directory(project: Project) -> None:
    (project.top / "i").rename(project.top / "j")
    (project.top / "i").symlink_to("j")


def _shadow(project: Project) -> None:
    project.put("c.h")


@pytest.mark.parametrize("change", [_edit, _replace_by_link, _move_its_directory, _shadow])
def test_a_change_gives_another_closure(
    project: Project, change: Callable[[Project], None]
) -> None:
    project.write(a_c='#include "b.h"\n#include "c.h"\n', b_h="x", i__c_h="")
    search = project.search(b"i")
    before = project.closure(search=search)
    change(project)
    after = project.closure(search=search)
    fresh = Scanner(Disk(), b"/nobody").scan(replace(project.request, search=search), 0.0)
    assert isinstance(fresh, Closure)
    assert before.manifest != after.manifest == fresh.manifest


def test_a_removed_header_is_noticed(project: Project) -> None:
    project.write(a_c='#include "i/b.h"\n', i__b_h="")
    assert project.found() == {"a.c", "i/b.h"}
    (project.top / "i" / "b.h").unlink()
    assert project.found() == {"a.c"}
    (project.top / "i").rmdir()
    assert project.found() == {"a.c"}
    project.put("i/b.h")
    assert project.found() == {"a.c", "i/b.h"}


def test_a_change_that_leaves_the_times_alone_is_noticed_within_the_window(
    project: Project,
) -> None:
    project.write(a_c="12")
    status = os.stat(project.top / "a.c")
    project.wall_ns = status.st_ctime_ns + RACY_WINDOW_NS - 1
    before = project.closure()
    entry = project.disk.child(_node(project), b"a.c")
    assert entry is not None
    assert entry.racy
    (project.top / "a.c").write_bytes(b"34")
    # As if the file system's clock had stood still: the signature is made to match.
    now = os.stat(project.top / "a.c")
    entry.signature = (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino, now.st_dev)
    assert project.closure().manifest != before.manifest


def test_one_check_serves_all_that_were_waiting(project: Project) -> None:
    project.write(a_c='#include "b.h"\n', b_h="")
    first = project.closure()
    project.put("b.h", "changed after the check")
    assert project.scan(waited_since=project.now) is first
    assert project.scan() is not first


def test_what_is_forgotten_is_found_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"h{at}.h" for at in range(20)]
    project.put("a.c", "".join(f'#include "{name}"\n' for name in names))
    for name in names:
        project.put(name)
    before = project.closure()
    monkeypatch.setattr(project.disk, "_max_files", 4)
    monkeypatch.setattr(project.disk, "_max_names", 4)
    assert project.closure().manifest == before.manifest
    assert project.found() == {"a.c", *names}
    project.put("h3.h", "changed")
    assert project.closure().manifest != before.manifest


def test_scans_beyond_the_memory_are_forgotten_and_made_again(project: Project) -> None:
    project.scanner = Scanner(project.disk, b"/nobody/home", limit_bytes=1)
    names = [f"s{at}.c" for at in range(5)]
    for name in names:
        project.put(name, '#include "h.h"\n')
    project.put("h.h")
    for _ in range(2):
        for name in names:
            project.request = replace(project.request, source=name.encode())
            assert project.found() == {name, "h.h"}
            assert len(project.scanner.known) == 1


def _node(project: Project) -> Directory:
    found = project.disk.walk(project.disk.root, os.fsencode(project.top), Trail())
    assert found is not None
    assert isinstance(found[1], Directory)
    return found[1]


# The compiler's own word


def ask(compiler: str, *arguments: bytes, cwd: Path, language: str = "c") -> SearchList:
    tail = query_arguments(arguments, language)
    environment = {**os.environ, "LC_ALL": "C"}
    command = [compiler.encode(), *tail]
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=True)
    return parse_search_list(ran.stderr, arguments)


@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_the_search_list_is_what_the_compiler_says(tmp_path: Path, compiler: str) -> None:
    for name in ("a b", "q", "s"):
        (tmp_path / name).mkdir()
    given = (b"-Ia b", b"-Inone", b"-iquote", b"q", b"-isystem", b"s", b"-I", b"./s")
    search = ask(compiler, *given, cwd=tmp_path)
    assert search.quote == (b"q",)
    # Clang drops the later spelling of one directory, gcc the one that is not a system directory.
    assert search.angle[:2] in ((b"a b", b"s"), (b"a b", b"./s"))
    assert b"none" in search.ignored
    assert {b"./s", b"s"} & {*search.duplicates}
    assert b"/usr/include" in search.angle or compiler.startswith("aarch64")


@pytest.mark.parametrize("answer", [b"", b"#include <...> search starts here:\n a\n"])
def test_an_answer_without_a_list_is_an_error(answer: bytes) -> None:
    with pytest.raises(CompilerError):
        parse_search_list(answer)


def test_frameworks_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompilerError):
        ask("clang", b"-F.", cwd=tmp_path)


def test_a_search_list_holds_until_a_directory_comes_or_goes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    key = SearchKey(b"/usr/bin/gcc", b"", "c", (b"-Ia", b"-Ib"), os.fsencode(tmp_path), ())
    memo = SearchMemo()
    memo.put(key, SearchList(angle=(b"a",), ignored=(b"b",)))
    assert memo.get(key) is not None
    assert memo.get(replace(key, arguments=())) is None
    (tmp_path / "b").mkdir()
    assert memo.get(key) is None


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_listing_gives_the_closure_of_what_it_lists(project: Project, compiler: str) -> None:
    names = ["b c.h", "d$#.h", "e\\ f.h" if compiler == "gcc" else "e.h"]
    text = "".join(f'#include "{name}"\n' for name in names) + "#if 0\n#include N x>\n#endif\n"
    project.put("a.c", text + "#define N <x\n")
    for name in names:
        project.put(name)
    command = [compiler, "-M", "-MT", os.fsdecode(LISTING_TARGET), "a.c"]
    rule = subprocess.run(command, cwd=project.top, capture_output=True, check=True).stdout
    paths = parse_listing(rule)
    search = ask(compiler, cwd=project.top)
    assert isinstance(project.scan(search=search), NotBounded)
    request = replace(project.request, search=search)
    closure = project.scanner.closure_from_listing(request, paths, 100.0)
    assert isinstance(closure, Closure)
    found = {os.path.relpath(os.fsdecode(f.path), project.top) for f in closure.manifest.files}
    assert found >= {"a.c", *names}


def test_a_listed_time_macro_is_local_all_the_same(project: Project) -> None:
    project.put("a.c", "char d[] = __DATE__;")
    answer = project.scanner.closure_from_listing(project.request, [b"a.c"], 1.0)
    assert answer == NotScannable(Reason.TIME_MACRO, os.fsencode(project.top / "a.c"))


def test_what_is_listed_and_not_there_is_local(project: Project) -> None:
    project.put("a.c")
    answer = project.scanner.closure_from_listing(project.request, [b"a.c", b"b.h"], 1.0)
    assert answer == NotScannable(Reason.LISTING, b"b.h")


def test_a_directory_that_is_found_to_answer_to_other_names_is_doubted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was empty when it was listed first, so that nothing could be told of it."""
    (project.top / "inc").mkdir()
    project.write(a_c='#if __has_include("inc/x.h")\n#include "inc/x.h"\n#endif\n')
    assert isinstance(project.scan(), Closure)
    (project.top / "inc" / "X.h").write_text("")
    exists = os.path.lexists
    folded = os.fsencode(project.top / "inc") + b"/x.H"
    monkeypatch.setattr(os.path, "lexists", lambda path: path == folded or exists(path))
    answer = project.scan()
    assert isinstance(answer, NotBounded)
    assert b"case-insensitive" in answer.detail


@pytest.mark.parametrize(
    "text",
    [
        '#if __has_include("../out/x.h")\n#endif\n',
        "#if __has_include_next(<../out/x.h>)\n#endif\n",
        '#define HAS(x) __has_include(x)\n#if HAS("../out/x.h")\n#endif\n',
        '#line 3 "../out/x.h"\n',
    ],
)
def test_what_is_found_and_not_shown_is_told(tmp_path: Path, text: str) -> None:
    for name in ("p/i", "out"):
        (tmp_path / name).mkdir(parents=True)
    project = Project((tmp_path / "p").resolve())
    project.write(a_c=text)
    before = project.closure()
    assert before.withheld == ()
    late = tmp_path.resolve() / "out" / "x.h"
    late.touch()
    after = project.closure()
    assert after.withheld == (os.fsencode(late),)
    assert after.manifest.files == before.manifest.files
    assert project.closure() is after
    late.unlink()
    assert project.closure().withheld == ()
    assert project.closure(mentioned=(os.fsencode(tmp_path),)).withheld == ()
    late.touch()
    shown = project.closure(optional_inputs=(os.fsencode(late),))
    assert shown.withheld == (), "the command line names it"
