"""What a compile makes, its language and macros, and whatever is carried along. Data."""

from __future__ import annotations

from zcc.compiler.commandline.option import (
    CLANG,
    EITHER,
    GCC,
    LONG,
    E,
    F,
    J,
    Option,
    Role,
    S,
    Use,
    local,
    rows,
)
from zcc.reasons import Reason

PLAIN: tuple[Option, ...] = (
    # What is made.
    *rows(Role.MODE, F, "-c --compile>-c", use=Use.OBJECT),
    *rows(Role.MODE, F, "-S --assemble>-S", use=Use.ASSEMBLY),
    *rows(Role.MODE, F, "-emit-llvm", use=Use.BITCODE, families=CLANG),
    *local(Reason.PREPROCESS_ONLY, F, "-E -M -MM --preprocess --dependencies --user-dependencies"),
    *local(Reason.SYNTAX_ONLY, F, "-fsyntax-only"),
    *local(
        Reason.INFORMATION,
        F | E,
        "--help --version --target-help -dumpspecs -dumpversion -dumpfullversion -dumpmachine",
    ),
    *local(
        Reason.INFORMATION,
        J,
        "-print- --print- --help- --completion= -cc1 -ccc- --autocomplete= -help",
    ),
    *local(
        Reason.OTHER_ACTION,
        F,
        "--analyze -emit-ast -emit-interface-stubs -emit-merged-ifs -extract-api -module-file-info "
        "-rewrite-objc -rewrite-legacy-objc --migrate --emit-static-lib -verify-pch -r "
        "--emit-extension-symbol-graphs --pretty-sgf -showFilenames -showFilenames-",
        CLANG,
    ),
    *local(Reason.MAKES_PCH, F, "-emit-pch -building-pch-with-obj -relocatable-pch", CLANG),
    *local(Reason.MAKES_PCH, S | J, "--output-pch --output-pch=", GCC),
    # The source's language.
    *rows(Role.LANGUAGE, EITHER, "-x", use=Use.OF_SOURCES),
    *rows(Role.LANGUAGE, LONG, "--language>-x", use=Use.OF_SOURCES),
    *rows(Role.LANGUAGE, J, "-std= --std=>-std="),
    *rows(Role.LANGUAGE, S, "--std>-std="),
    *rows(Role.LANGUAGE, F, "-ansi --ansi>-ansi -trigraphs --trigraphs>-trigraphs"),
    *rows(Role.LANGUAGE, F, "-traditional-cpp --traditional-cpp>-traditional-cpp"),
    *rows(Role.LANGUAGE, F, "-ObjC", use=Use.OBJC),
    *rows(Role.LANGUAGE, F, "-ObjC++", use=Use.OBJCXX),
    *rows(Role.LANGUAGE, F, "-fpch-preprocess -fdirectives-only", searches=False),
    # Macros.
    *rows(Role.DEFINE, EITHER, "-D"),
    *rows(Role.DEFINE, LONG, "--define-macro>-D"),
    *rows(Role.CARRIED, EITHER, "-U -A", searches=False),
    *rows(Role.CARRIED, LONG, "--undefine-macro>-U --assert>-A", searches=False),
    # Words for another program.
    *rows(Role.NESTED, J, "-Wp,", use=Use.PREPROCESSOR_LIST),
    *rows(Role.NESTED, J, "-Wa,", use=Use.ASSEMBLER_LIST),
    *rows(Role.NESTED, S, "-Xpreprocessor", use=Use.PREPROCESSOR_WORD),
    *rows(Role.NESTED, S, "-Xassembler", use=Use.ASSEMBLER_WORD),
    *rows(Role.NESTED, LONG, "--for-assembler>-Xassembler", use=Use.ASSEMBLER_WORD),
    *rows(Role.NESTED, S, "-Xclang", use=Use.FRONTEND_WORD, families=CLANG),
    *rows(Role.NESTED, J, "-Xclang=", use=Use.FRONTEND_WORD, families=CLANG),
    *rows(Role.NESTED, S, "-mllvm", use=Use.BACKEND_WORD, families=CLANG),
    *rows(Role.NESTED, J, "-mllvm=>-mllvm", use=Use.BACKEND_WORD, families=CLANG),
    *rows(Role.CARRIED, S, "-Xlinker -Xanalyzer", searches=False),
    *rows(Role.CARRIED, LONG, "--for-linker -z", searches=False),
    # The linker's: unused in a compile, not even looked at.
    *rows(Role.CARRIED, J, "-Wl,", searches=False),
    *rows(Role.CARRIED, EITHER, "-L -l -T -u -e -Tbss -Tdata -Ttext -G -b", searches=False),
    *rows(Role.CARRIED, EITHER, "-R", families=GCC, searches=False),
    *rows(Role.CARRIED, S, "-undefined", families=CLANG, searches=False),
    *rows(Role.CARRIED, LONG, "--library-directory --force-link --entry", searches=False),
    *rows(Role.CARRIED, S, "-framework -rpath", searches=False),
    *rows(Role.CARRIED, LONG, "-fuse-ld --ld-path", searches=False),
    # Carried: families by prefix, with the members first that only look as if they named files.
    *rows(
        Role.CARRIED,
        J,
        "-fdebug-prefix-map= -ffile-prefix-map= -fmacro-prefix-map= -fprofile-prefix-map= "
        "-fcoverage-prefix-map= -fprofile-prefix-path= -fdebug-compilation-dir= "
        "-ffile-compilation-dir= -fcoverage-compilation-dir= -fcrash-diagnostics-dir= "
        "-fdiagnostics-path-format= -fprofile-exclude-files= -fprofile-filter-files= "
        "-fprofile-generate= -fprofile-instr-generate= -fcs-profile-generate= "
        "-finstrument-functions-exclude-file-list= -frandom-seed= -frandom-seed "
        "-fcanon-prefix-map -fmessage-length= -fdiagnostics- "
        "-fdebug-default-version= -fsanitize-undefined-strip-path-components= "
        "-fuse-cuid= -cuid= -fsymbol-partition= -fdepfile-entry= -funique-source-file-identifier= "
        "-fprofile-generate-cold-function-coverage= -fmemory-profile= -fcodegen-data-generate= "
        "-fgo- -fada-spec-parent= -object-file-name=",
        searches=False,
    ),
    *rows(Role.CARRIED, S, "-fdebug-compilation-dir -fdebug-prefix-map", searches=False),
    *rows(Role.CARRIED, F | J, "-W -O -g", searches=False),
    *rows(Role.CARRIED, J, "--warn- --optimize --debug", searches=False),
    *rows(Role.CARRIED, J, "-m --machine-"),
    *rows(Role.CARRIED, S, "-meabi -mthread-model -ftrapv-handler", families=CLANG),
    *rows(
        Role.CARRIED,
        S,
        "-fxray-instruction-threshold -darwin-target-variant -darwin-target-variant-triple "
        "-fexperimental-openacc-macro-override",
        families=CLANG,
    ),
    *rows(Role.GUARDED, J, "-f"),
    *rows(Role.CARRIED, LONG, "--param", searches=False),
    *rows(
        Role.CARRIED,
        F,
        "-w -pipe -p -pg -P -C -CC -H -s -t -n -N -Z -X -pedantic -pedantic-errors "
        "-pass-exit-codes -canonical-prefixes -no-canonical-prefixes -integrated-as "
        "-no-integrated-as -no-integrated-cpp -Qn -Qy -Qunused-arguments -rdynamic -shared -static "
        "-static-pie -pie -no-pie -nopie -symbolic -nostdlib -nodefaultlibs -nostartfiles -nolibc "
        "-nostdlib++ -static-libgcc -shared-libgcc -static-libstdc++ -static-libasan "
        "-static-libubsan -static-libtsan -static-liblsan -shared-libsan -static-libsan "
        "-traditional "
        "--pipe --pedantic --pedantic-errors --comments --comments-in-macros --no-line-commands "
        "--no-warnings --all-warnings --extra-warnings --trace-includes --profile --profile-blocks "
        "--pass-exit-codes --shared --static --static-pie --pie --no-pie --symbolic "
        "--no-integrated-cpp --no-standard-libraries --verify-debug-info "
        "-static-libgfortran -static-libclosure -static-openmp -via-file-asm --via-file-asm "
        "-no-pedantic --no-pedantic -startfiles -Mach -inline-asm= -quiet "
        "--start-no-unused-arguments --end-no-unused-arguments -cl-std= -print-ivar-layout",
        searches=False,
    ),
    *rows(Role.CARRIED, J, "-rtlib= --rtlib= -unwindlib= --unwindlib=", searches=False),
    *rows(
        Role.CARRIED,
        J,
        "-Rpass -R --system-header-prefix= --no-system-header-prefix=",
        families=CLANG,
        searches=False,
    ),
)
