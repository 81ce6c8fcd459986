"""Words for other programs: those in `-Wp,` and `-Wa,`, and behind `-Xpreprocessor` and their like. Data."""

from __future__ import annotations

from zcc.compiler.commandline.option import EITHER, E, F, J, Option, Role, S, Use, local, rows
from zcc.reasons import Reason

# The words inside -Wp, and behind -Xpreprocessor, as gcc's preprocessor takes them.
PREPROCESSOR: tuple[Option, ...] = (
    *rows(Role.DEFINE, EITHER, "-D"),
    *rows(Role.CARRIED, EITHER, "-U -A"),
    *rows(Role.DEPFILE, EITHER, "-MD -MMD", use=Use.RULE),
    *rows(Role.DEPFILE, EITHER, "-MF", use=Use.RULE_FILE),
    *rows(Role.DEPFILE, EITHER, "-MT -MQ"),
    *rows(Role.DEPFILE, F, "-MP -MG"),
    *rows(Role.CARRIED, J, "-W -f -m"),
    *rows(Role.CARRIED, F, "-P -C -CC -H -w -pedantic -pedantic-errors -undef"),
    *rows(Role.LANGUAGE, J, "-std="),
    *rows(Role.LANGUAGE, F, "-ansi -trigraphs"),
    *rows(Role.SEARCH, EITHER, "-I -isystem -iquote -idirafter"),
    *rows(Role.FORCED_INCLUDE, EITHER, "-include -imacros"),
)

# The words inside -Wa, and behind -Xassembler; -o is not among them on purpose. Operands are
# sources, read before what the compiler makes (reader.py).
ASSEMBLER: tuple[Option, ...] = (
    *rows(Role.CARRIED, S, "--defsym -defsym -debug-prefix-map --debug-prefix-map"),
    *rows(Role.CARRIED, J, "-m -g --g --gdwarf -W --32 --64 --x32 --compress-debug-sections"),
    *rows(Role.CARRIED, J, "-compress-debug-sections --defsym= --debug-prefix-map= -EL -EB"),
    *rows(Role.CARRIED, J, "--elf-stt-common= --generate-missing-build-notes= --size-check="),
    *rows(
        Role.CARRIED,
        F,
        "--noexecstack --execstack --fatal-warnings --no-warn --warn -n -L --keep-locals -K -J -Z "
        "--strip-local-absolute --reduce-memory-overheads -R -f --no-pad-sections -q -divide "
        "--divide --sectname-subst --traditional-format --no-relax -relax --relax -k -v7 "
        "--nocompress-debug-sections -fno-dollars-in-identifiers -alternate --alternate -mrelax",
    ),
    *rows(Role.CARRIED, J, "--listing-lhs-width --listing-rhs-width= --listing-cont-lines="),
    *rows(Role.CARRIED, J, "--hash-size= --gdwarf-cie-version="),
    *rows(Role.SEARCH, EITHER, "-I"),
    *rows(Role.OUTPUT, F | J, "-a", use=Use.LISTING),
    *rows(Role.OUTPUT, S, "--MD"),
    *rows(Role.OUTPUT, S | E, "-MD"),
)

# The words behind -Xclang; whatever else begins with these letters neither reads nor writes.
FRONTEND: tuple[Option, ...] = (
    *rows(Role.EXTRA_INPUT, S, "-include-pch", use=Use.PRECOMPILED),
    *rows(Role.EXTRA_INPUT, S, "-load", use=Use.PLUGIN),
    *rows(Role.FORCED_INCLUDE, S, "-include -imacros"),
    *rows(Role.DEFINE, EITHER, "-D"),
    *rows(Role.CARRIED, EITHER, "-U"),
    *local(Reason.MAKES_PCH, F, "-emit-pch"),
    *rows(Role.CARRIED, S, "-add-plugin"),
    *rows(Role.EXTRA_INPUT, J, "-plugin-arg-", use=Use.PLUGIN_ARGUMENT),
    *local(Reason.PLUGIN, J, "-plugin"),  # an action in place of compiling
    *local(Reason.DUMP_OUTPUT, J, "-fdump -ast-dump"),
    *rows(Role.EXTRA_INPUT, J, "-fmodule-map-file=", use=Use.MODULE_MAP),
    *rows(Role.CARRIED, J, "-fmodule-name= -fmodules-decluse -fmodules-strict-decluse"),
    *rows(Role.CARRIED, F, "-fmodule-map-file-home-is-cwd"),
    *local(Reason.MODULES, J, "-fmodule -fimplicit-module -fprebuilt- -emit-module"),
    *local(Reason.TIME_REPORT, J, "-ftime-report -print-stats"),
    *rows(
        Role.CARRIED,
        S,
        "-target-cpu -target-feature -target-abi -target-linker-version -tune-cpu -mllvm "
        "-mrelocation-model -pic-level -mthread-model -main-file-name -fdebug-prefix-map "
        "-ferror-limit -debug-info-kind -fdebug-compilation-dir -fcoverage-compilation-dir",
    ),
    *rows(Role.CARRIED, J, "-W -O -m -disable- -debug-info-kind= -dwarf- -std= -debugger-tuning="),
    *rows(Role.CARRIED, J, "-no- -new-struct-path-tbaa -relaxed-aliasing -target-feature="),
    *rows(Role.GUARDED, J, "-f"),
    *rows(Role.CARRIED, F, "-w -pic-is-pie -static-define -nostdsysteminc -enable-tlsdesc -verify"),
)
