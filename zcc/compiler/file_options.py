"""Options that name files and directories: where is searched, what is read, what is written. Data."""

from __future__ import annotations

from zcc.compiler.option import CLANG, EITHER, GCC, LONG, E, F, J, Option, Role, S, local, rows
from zcc.reasons import Reason

FILES: tuple[Option, ...] = (
    # Where headers and programs are looked for.
    *rows(Role.SEARCH, EITHER, "-I -isystem -iquote -idirafter -iprefix"),
    *rows(Role.SEARCH, EITHER, "-iwithprefix -iwithprefixbefore -isysroot -imultilib"),
    *rows(Role.SEARCH, EITHER, "-F -imultiarch"),
    *rows(
        Role.SEARCH,
        EITHER,
        "-cxx-isystem -stdlib++-isystem -isystem-after -iframework -iframeworkwithsysroot "
        "-iwithsysroot",
        families=CLANG,
    ),
    *rows(Role.SEARCH, LONG, "--sysroot --include-directory>-I --include-prefix>-iprefix"),
    *rows(Role.SEARCH, LONG, "--include-directory-after>-idirafter"),
    *rows(Role.SEARCH, LONG, "--include-with-prefix>-iwithprefix"),
    *rows(Role.SEARCH, LONG, "--include-with-prefix-after>-iwithprefix"),
    *rows(Role.SEARCH, LONG, "--include-with-prefix-before>-iwithprefixbefore"),
    *rows(Role.SEARCH, F, "-I- -nostdinc -nostdinc++ -undef -no-sysroot-suffix -remap"),
    *rows(Role.SEARCH, F, "--include-barrier>-I- --no-standard-includes>-nostdinc"),
    *rows(Role.SEARCH, F, "-nostdlibinc -nobuiltininc -ibuiltininc", families=CLANG),
    *rows(Role.SEARCH, J, "-stdlib= --stdlib=>-stdlib="),
    *rows(Role.SEARCH, S, "--stdlib>-stdlib= -target", families=CLANG),
    *rows(Role.SEARCH, LONG, "--target>-target --gcc-toolchain", families=CLANG),
    *rows(Role.SEARCH, J, "-gcc-toolchain= --gcc-install-dir= --gcc-triple=", families=CLANG),
    *rows(Role.SEARCH, F, "-pthread -pthreads -fopenmp -no-pthread"),
    *rows(Role.SEARCH, S, "-arch -arch_only", families=CLANG),
    *rows(Role.EXTRA_INPUT, LONG, "-specs --specs>-specs", searches=True),
    *local(Reason.PROGRAM_PREFIX, EITHER, "-B"),
    *local(Reason.PROGRAM_PREFIX, LONG, "--prefix"),
    *local(Reason.WRAPPER, S, "-wrapper", GCC),
    *local(Reason.RESOURCE_DIRECTORY, LONG, "-resource-dir", CLANG),
    *local(Reason.WORKING_DIRECTORY, LONG, "-working-directory", CLANG),
    *local(Reason.WORKING_DIRECTORY, S | J, "-fmodules-user-build-path", CLANG),
    *local(Reason.CONFIG_FILE, LONG, "--config", CLANG),
    *local(Reason.CONFIG_FILE, J, "--config- --driver-mode= --rsp-quoting=", CLANG),
    *local(Reason.CONFIG_FILE, F, "--no-default-config", CLANG),
    *local(Reason.CONFIG_FILE, J, "-multi-lib-config= --multi-lib-config=", CLANG),
    *local(Reason.EMBED_DIRECTORY, LONG, "--embed-dir"),
    *local(Reason.FILE_LIST, S, "-filelist", CLANG),
    *local(Reason.VFS_OVERLAY, EITHER, "-ivfsoverlay --vfsoverlay -vfsoverlay", CLANG),
    *local(Reason.HEADER_MAP, F, "-index-header-map", CLANG),
    # Files that are read.
    *rows(Role.FORCED_INCLUDE, EITHER, "-include -imacros"),
    *rows(Role.FORCED_INCLUDE, LONG, "--include>-include --imacros>-imacros"),
    *rows(Role.EXTRA_INPUT, EITHER, "-include-pch", families=CLANG),
    *rows(Role.EXTRA_INPUT, J, "-fplugin= -fauto-profile="),
    *rows(
        Role.EXTRA_INPUT,
        J,
        "-fpass-plugin= -fsanitize-blacklist= -fsanitize-ignorelist= "
        "-fsanitize-system-blacklist= -fsanitize-system-ignorelist= -fsanitize-coverage-allowlist= "
        "-fsanitize-coverage-whitelist= -fsanitize-coverage-ignorelist= "
        "-fsanitize-coverage-blacklist= -fprofile-instr-use= -fprofile-sample-use= -fprofile-list= "
        "-fprofile-remapping-file= -fmemory-profile-use= -fxray-attr-list= "
        "-fxray-always-instrument= -fxray-never-instrument= -fthinlto-index= "
        "-fembed-offload-object= -frewrite-map-file= -frandomize-layout-seed-file= "
        "-fbasic-block-sections=list= -fms-secure-hotpatch-functions-file= "
        "--warning-suppression-mappings=",
        families=CLANG,
    ),
    # Maps alone declare what may be included; with -fmodules (local_options.py) they build modules.
    *rows(Role.EXTRA_INPUT, J, "-fmodule-map-file=", families=CLANG),
    *rows(Role.EXTRA_INPUT, J, "-fplugin-arg-"),
    *rows(
        Role.EXTRA_INPUT,
        J,
        "-finput-charset= -fexec-charset=>-finput-charset= -fwide-exec-charset=>-finput-charset=",
        families=GCC,
        searches=True,
    ),
    *local(Reason.PLUGIN, J, "-iplugindir="),
    *rows(Role.EXTRA_INPUT, J, "-fprofile-use="),
    *rows(Role.EXTRA_INPUT, F, "-fprofile-use>-fprofile-use="),
    *rows(Role.EXTRA_INPUT, F, "-fbranch-probabilities>-fprofile-use=", families=GCC),
    *rows(Role.EXTRA_INPUT, F, "-fauto-profile>-fauto-profile=", families=GCC),
    *rows(Role.EXTRA_INPUT, F, "-fprofile-instr-use>-fprofile-use=", families=CLANG),
    # Undo a -fno-... before them and read nothing: clang takes a name from the forms with one alone.
    *rows(Role.CARRIED, F, "-fauto-profile -fprofile-sample-use", families=CLANG, searches=False),
    *local(Reason.PROFILE_USE, F, "-fcs-profile-use", CLANG),
    *local(Reason.BUILD_SESSION, J, "-fbuild-session-", CLANG),
    # Files that are written.
    *rows(Role.OUTPUT, EITHER, "-o"),
    *rows(Role.OUTPUT, LONG, "--output>-o"),
    *rows(Role.OUTPUT, S, "-serialize-diagnostics", families=CLANG),
    *rows(Role.OUTPUT, LONG, "--serialize-diagnostics>-serialize-diagnostics", families=CLANG),
    *rows(Role.OUTPUT, EITHER, "-MJ", families=CLANG),
    *rows(Role.OUTPUT, J, "-foptimization-record-file= -fthin-link-bitcode=", families=CLANG),
    *rows(Role.OUTPUT, F, "-fstack-usage", derives=".su"),
    *rows(Role.OUTPUT, F | E, "-gsplit-dwarf", derives=".dwo"),
    *rows(Role.OUTPUT, F, "--coverage -coverage>--coverage -ftest-coverage", derives=".gcno"),
    *rows(Role.OUTPUT, F | E, "-save-temps --save-temps>-save-temps"),
    *rows(Role.OUTPUT, F | E, "-ftime-trace", families=CLANG, derives=".json"),
    *rows(Role.OUTPUT, F | E, "-save-stats --save-stats>-save-stats", families=CLANG),
    *rows(Role.OUTPUT, F, "-fsave-optimization-record", families=CLANG, derives=".opt.yaml"),
    *rows(
        Role.OUTPUT,
        J,
        "-fsave-optimization-record=",
        families=CLANG,
        derives=".opt.yaml .opt.bitstream",
    ),
    *rows(Role.OUTPUT, F | E, "-fcallgraph-info", families=GCC, derives=".ci"),
    *rows(
        Role.OUTPUT,
        F,
        "-fsave-optimization-record",
        families=GCC,
        derives="*.opt-record.json.gz",
    ),
    *rows(Role.OUTPUT, F | J, "-fopt-info", families=GCC),
    *rows(Role.OUTPUT, S | E, "-aux-info", families=GCC),
    *rows(Role.OUTPUT, J, "-fprofile-dir="),
    # Unless they name their file it is a dump, with the number of a pass (zcc/dumps.py).
    *rows(Role.OUTPUT, J, "-fdump-tree- -fdump-rtl- -fdump-ipa- -fdump-lang-", families=GCC),
    *rows(Role.OUTPUT, F, "-da>-fdump-rtl- -fdump-statistics>-fdump-rtl-", families=GCC),
    *rows(Role.OUTPUT, J, "-fdump-statistics->-fdump-rtl-", families=GCC),
    *rows(
        Role.CARRIED,
        F,
        "-fdump-noaddr -fdump-unnumbered -fdump-unnumbered-links -fdump-passes -dP",
        families=GCC,
        searches=False,
    ),
    *rows(Role.OUTPUT, J, "-fdump-go-spec= -fdump-final-insns=", families=GCC),
    *rows(Role.OUTPUT, J, "-fprofile-note= -fdeps-file=", families=GCC),
    *local(Reason.DUMP_NAMES, EITHER, "-dumpbase -dumpbase-ext -dumpdir"),
    *local(Reason.DUMP_NAMES, LONG, "--dumpbase --dumpbase-ext --dumpdir"),
    *local(Reason.DUMP_OUTPUT, J, "-fdump- -d"),
    *local(Reason.DUMP_OUTPUT, S | J, "--dump"),
    *local(Reason.DUMP_OUTPUT, F, "-gen-decls", GCC),
    *local(Reason.DUMP_OUTPUT, J, "-fdoc -fsave-mixins=", GCC),
    *local(Reason.DUMP_OUTPUT, J, "--symbol-graph-dir= --extract-api-ignores= -objcmt-", CLANG),
    *local(Reason.REPRODUCER, F | E, "-gen-reproducer", CLANG),
    *rows(Role.CARRIED, F, "-dA -dp -fno-dump-final-insns", searches=False),
    *rows(Role.CARRIED, F, "-dI -dD", families=CLANG, searches=False),
    *local(
        Reason.DUMP_OUTPUT,
        S,
        "-dependency-dot -dependency-file -module-dependency-dir "
        "--analyzer-output -arcmt-migrate-report-output",
        CLANG,
    ),
    *local(Reason.DUMP_OUTPUT, EITHER, "-gen-cdb-fragment-path -dsym-dir", CLANG),
    *rows(Role.OUTPUT, J, "-fdiagnostics-format=sarif-file", families=GCC, derives="^.sarif"),
    *rows(Role.OUTPUT, J, "-fdiagnostics-format=json-file", families=GCC, derives="^.gcc.json"),
    *local(Reason.DIAGNOSTICS_FILE, J, "-fdiagnostics-add-output= -fdiagnostics-set-output=", GCC),
    *local(Reason.VERBOSE_ASM, F, "-fverbose-asm"),
    *local(Reason.COMPARE_DEBUG, F | E, "-fcompare-debug -fcompare-debug-second", GCC),
    # Dependency files.
    *rows(Role.DEPFILE, F, "-MD -MMD -MP -MG -MV -Mmodules -Mno-modules"),
    *rows(Role.DEPFILE, F, "--write-dependencies>-MD --write-user-dependencies>-MMD"),
    *rows(Role.DEPFILE, F, "--print-missing-file-dependencies>-MG"),
    *rows(Role.DEPFILE, EITHER, "-MF -MT -MQ"),
    *rows(Role.DEPFILE, J, "-fdeps-target=", families=GCC),
)
