"""What a caller's environment may hold and where its directories may lie. Data."""

from __future__ import annotations

from tests.differential.case import HERE, PATH, UNSET

_LOCALES = ("C.UTF-8", "C", "en_US.UTF-8", "de_DE.UTF-8")
# What many a build has set, and what hardly any has: most of it makes a compile stay where it is.
USUAL_VARIABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("LANG", _LOCALES),
    ("LC_ALL", _LOCALES),
    ("LC_CTYPE", _LOCALES),
    ("SOURCE_DATE_EPOCH", ("1", "1700000000")),
    ("CPATH", ("inc", "@HERE@/alt", ":inc", "")),
    ("C_INCLUDE_PATH", ("alt:inc",)),
    ("CPLUS_INCLUDE_PATH", ("alt",)),
    ("GCC_COLORS", ("", "error=01;32")),
    ("GCC_EXTRA_DIAGNOSTIC_OUTPUT", ("fixits-v1",)),
    ("COLUMNS", ("50",)),
    ("LIBRARY_PATH", ("inc",)),
    ("TERM", ("xterm", "dumb")),
    ("CFLAGS", ("-O2",)),
    ("POSIXLY_CORRECT", ("1",)),
)
UNUSUAL_VARIABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SOURCE_DATE_EPOCH", ("x",)),
    ("DEPENDENCIES_OUTPUT", ("env.d",)),
    ("SUNPRO_DEPENDENCIES", ("env.d t",)),
    ("GCC_COMPARE_DEBUG", ("-g",)),
    ("CCC_OVERRIDE_OPTIONS", ("+-g",)),
)
# How a caller's shell and directories may stand.
USUAL_PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("PWD", (UNSET, HERE, f"{HERE}/", "/")),
    ("TMPDIR", (UNSET, HERE)),
    ("HOME", (UNSET, HERE, "")),
)
# As no build would have them on purpose.
ODD_PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("PWD", (UNSET, ".", "", HERE, f"{HERE}/", f"{HERE}/inc", f"{HERE}/./way in", "/nowhere", "/")),
    ("TMPDIR", (UNSET, "", "out", f"{HERE}/none", f"{HERE}/inc", "/dev/null")),
    ("PATH", (f"{HERE}/tools:{PATH}", f"tools:{PATH}", f":{PATH}", f"{HERE}/none:{PATH}", f"{PATH}:.")),
    ("HOME", (UNSET, HERE, "")),
)  # fmt: skip
# What a project may keep in `tools` for its PATH: name -> what it runs in its own place.
TOOLS = {
    "as": "/usr/bin/as",
    "gcc": "/usr/bin/gcc -DTOOL=1",
    "clang": "/usr/bin/clang -DTOOL=1",
    "objcopy": "/usr/bin/objcopy",
    "ld": "/usr/bin/ld",
}
