"""What a scan has missed leaves its trace when it appears.

Invariant (`Closure`): for any tree and any name that a scan of it has missed, the scan of the tree with that
name gives another manifest, or the name among what it withholds, or no closure. What is remembered of a result
leaves out the misses that a scan knows; on this it rests.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_closure import EXAMPLES
from zcc.compiler.disk.disk import Disk
from zcc.compiler.scan.closure import Closure, ScanRequest
from zcc.compiler.scan.scanner import Answer, Scanner
from zcc.compiler.scan.search_list import SearchList

# The project is `p`; `out` lies outside, and so do the directory above and one that is not there.
NAMES = ("a.h", "sub/a.h", "../a.h", "../out/a.h", "../out/b.h", "../gone/a.h", "{top}/out/c.h")
# Looked for as files. All other names that a scan misses are those of headers, and of directories on the way.
FILES = (b"optional", b"mentioned")
FORMS = (
    '#include "{name}"',
    "#include_next <{name}>",
    '#if __has_include("{name}")\n#endif',
    "#if __has_include(<{name}>)\n#endif",
    "#if __has_include_next(<{name}>)\n#endif",
    '#define HAS(x) __has_include(x)\n#if HAS("{name}")\n#endif',
    '#define NAME "{name}"\n#if __has_include(NAME)\n#endif',
    '#define NAME "{name}"\n#include NAME',
    '#line 3 "{name}"',
    '# 3 "{name}"',
    '#if __has_embed("{name}")\n#endif',
)
lines = st.tuples(st.sampled_from(FORMS), st.sampled_from(NAMES))


def scan(top: Path, is_clang: bool) -> Answer:
    at = os.fsencode(top / "p")
    request = ScanRequest(
        cwd=at,
        source=b"x.c",
        language="c",
        search=SearchList(angle=(b"i",)),
        roots=(at,),
        loose=b"",
        optional_inputs=FILES[:1],
        mentioned=(FILES[1], os.fsencode(top / "out" / "mentioned")),
        is_clang=is_clang,
    )
    return Scanner(Disk(), b"/nobody").scan(request, 0.0)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    source=st.lists(lines, min_size=1, max_size=4),
    present=st.sets(st.sampled_from(["a.h", "sub/a.h", "../a.h", "../out/a.h", "i/a.h"])),
    header=st.lists(lines, max_size=2),
    is_clang=st.booleans(),
)
def test_a_name_that_was_missed_leaves_a_trace_when_it_appears(
    source: list[tuple[str, str]],
    present: set[str],
    header: list[tuple[str, str]],
    is_clang: bool,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        top = Path(os.path.realpath(directory))
        for place in ("p/i", "p/sub", "out"):
            (top / place).mkdir(parents=True)
        for spelling in present:
            (top / "p" / spelling).write_text(text(header, top))
        (top / "p" / "x.c").write_text(text(source, top))
        before = scan(top, is_clang)
        if not isinstance(before, Closure):
            return
        for at, names in before.misses.items():
            for path in (Path(os.fsdecode(at + b"/" + name)) for name in names):
                if path.is_relative_to(top):
                    check(before, path, top, is_clang)


def check(before: Closure, path: Path, top: Path, is_clang: bool) -> None:
    for make, remove in ((Path.touch, Path.unlink), (Path.mkdir, Path.rmdir)):
        if make is Path.touch and path.suffix != ".h" and os.fsencode(path.name) not in FILES:
            continue  # in the place of a directory: below a file all is missing as it was
        make(path)
        after = scan(top, is_clang)
        has_trace = (
            not isinstance(after, Closure)
            or after.manifest != before.manifest
            or os.fsencode(path) in after.withheld
        )
        assert has_trace, (path, make)
        remove(path)


def text(parts: list[tuple[str, str]], top: Path) -> str:
    named = (form.replace("{name}", name.replace("{top}", str(top))) for form, name in parts)
    return "\n".join(named) + "\n"
