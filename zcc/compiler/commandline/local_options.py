"""Options whose compiles stay on this machine, each with the reason that `zcc stats` counts. Data."""

from __future__ import annotations

from zcc.compiler.commandline.option import (
    CLANG,
    EITHER,
    GCC,
    LONG,
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

LOCALS: tuple[Option, ...] = (
    # What depends on the machine, or on the time that it takes.
    *rows(Role.MACHINE, J, "-march= -mcpu= -mtune= --machine-arch= --machine-cpu= --machine-tune="),
    *local(Reason.MACHINE, LONG, "--machine"),
    *local(Reason.VERBOSE, F, "-v --verbose -###"),
    *local(Reason.TIME_REPORT, F, "-time -Q -fmem-report -fmem-report-wpa -fstats"),
    *local(Reason.TIME_REPORT, F, "-fpre-ipa-mem-report -fpost-ipa-mem-report -fprofile-report"),
    *local(Reason.TIME_REPORT, F, "--print-stats -print-stats --time"),
    *local(Reason.TIME_REPORT, J, "-ftime-report -fproc-stat-report -time="),
    # The object of a Windows target holds the time.
    *local(Reason.TIME_STAMP, F, "-mincremental-linker-compatible", CLANG),
    # Modules: one compile reads what another one has just written. Where they are only switched on, as CMake
    # does for gcc, the scanner sees whether a source has anything to do with one.
    *rows(Role.CARRIED, F, "-fmodules-ts", families=GCC, searches=False),
    *rows(Role.EXTRA_INPUT, J, "-fmodule-mapper=", use=Use.MODULE_MAPPER, families=GCC),
    *rows(Role.OUTPUT, J, "-fdeps-format=", families=GCC, derives=".ddi"),
    *local(Reason.MODULES, J, "-fmodule -fimplicit-module-maps -fprebuilt- -fdeps-format="),
    *local(Reason.MODULES, J, "-fcxx-modules -fbuiltin-module-map -fimplicit-modules --precompile"),
    *local(Reason.MODULES, J, "-gmodules -fexperimental-modules", CLANG),
    *rows(Role.CARRIED, J, "-fno-module", searches=False),
    *rows(Role.CARRIED, J, "-fmodule-name= -fmodules-decluse", families=CLANG, searches=False),
    *rows(Role.CARRIED, F, "-fmodules-strict-decluse", families=CLANG, searches=False),
    *local(Reason.MODULES, S, "-iapinotes-modules", CLANG),
    # What only link-time optimisation hands to its own compiles.
    *local(
        Reason.LTO_INTERNAL, J, "-fresolution= -fltrans -fwpa -fself-test= -flto-partition-file="
    ),
    *local(Reason.LTO_INTERNAL, J, "-fcodegen-data-use= -fthinlto-distributor=", CLANG),
    *local(Reason.LTO_INTERNAL, J | S, "-Xthinlto-distributor=", CLANG),
    # Other languages than those of the C family.
    *local(Reason.LANGUAGE, S, "-hlsl-entry -validator-version -fintrinsic-modules-path -gnatO"),
    *local(Reason.LANGUAGE, S, "-Hd -Hf -Xf", GCC),
    *local(Reason.LANGUAGE, EITHER, "-J", GCC),
    *local(Reason.LANGUAGE, J, "-fpre-include= -fintrinsic-modules-path= -fmod= -fdef= -flibs="),
    *local(
        Reason.LANGUAGE, J, "-fobject-path= -hlsl- --dxv-path= -cpp= -ftarget-ar= -ftarget-ranlib="
    ),
    # Several compiles in one.
    *local(
        Reason.OFFLOAD, J, "--cuda --hip --offload -fopenmp-targets= -fsycl --no-offload -fgpu-rdc"
    ),
    *local(Reason.OFFLOAD, J, "--rocm --ptxas --libomptarget -foffload-lto --gpu -fcuda -fhip"),
    *local(Reason.OFFLOAD, S, "-Xarch_device -Xarch_host -Xcuda-fatbinary -Xcuda-ptxas", CLANG),
    *local(Reason.OFFLOAD, LONG, "-Xopenmp-target", CLANG),
    *local(Reason.OFFLOAD, S, "-Xoffload-linker -mmlir", CLANG),
    *local(
        Reason.OFFLOAD,
        J,
        "--amdgpu-arch-tool= --nvptx-arch-tool= --no-cuda --libclc-lib= --sycl",
        CLANG,
    ),
    *local(Reason.OFFLOAD, J, "-nogpu -nohip --no-gpu-bundle-output -no-hip-rt -sycl-std=", CLANG),
    *local(Reason.NESTED_OPTION, LONG, "-Xclangas", CLANG),
    *local(Reason.PRECOMPILED_HEADER, F, "-ignore-pch", CLANG),
    *local(Reason.MAKES_PCH, F, "--relocatable-pch", CLANG),
    *local(Reason.INFORMATION, S, "-V -ccc-gcc-name -ccc-install-dir", CLANG),
    *local(Reason.OTHER_ACTION, S, "-ccc-arcmt-migrate -ccc-objcmt-migrate", CLANG),
    *local(Reason.OFFLOAD, J, "-Xarch_ -Xopenmp-target= -Xoffload", CLANG),
    *local(Reason.REPOSITORY, F, "-frepo", GCC),
)
