"""Options whose compiles stay on this machine, each with the reason that `zcc stats` counts. Data."""

from __future__ import annotations

from zcc.compiler.option import CLANG, EITHER, GCC, LONG, F, J, Option, Role, S, local, rows

LOCALS: tuple[Option, ...] = (
    # What depends on the machine, or on the time that it takes.
    *rows(Role.MACHINE, J, "-march= -mcpu= -mtune= --machine-arch= --machine-cpu= --machine-tune="),
    *local("machine", LONG, "--machine"),
    *local("verbose", F, "-v --verbose -###"),
    *local("time-report", F, "-time -Q -fmem-report -fmem-report-wpa -fstats"),
    *local("time-report", F, "-fpre-ipa-mem-report -fpost-ipa-mem-report -fprofile-report"),
    *local("time-report", F, "--print-stats -print-stats --time"),
    *local("time-report", J, "-ftime-report -fproc-stat-report -time="),
    # The object of a Windows target holds the time.
    *local("time-stamp", F, "-mincremental-linker-compatible", CLANG),
    # Modules: one compile reads what another one has just written. Where they are only switched on, as CMake
    # does for gcc, the scanner sees whether a source has anything to do with one.
    *rows(Role.CARRIED, F, "-fmodules-ts", families=GCC, searches=False),
    *rows(Role.EXTRA_INPUT, J, "-fmodule-mapper=", families=GCC),
    *rows(Role.OUTPUT, J, "-fdeps-format=", families=GCC, derives=".ddi"),
    *local("modules", J, "-fmodule -fimplicit-module-maps -fprebuilt- -fdeps-format="),
    *local("modules", J, "-fcxx-modules -fbuiltin-module-map -fimplicit-modules --precompile"),
    *local("modules", J, "-gmodules -fexperimental-modules", CLANG),
    *rows(Role.CARRIED, J, "-fno-module", searches=False),
    *rows(Role.CARRIED, J, "-fmodule-name= -fmodules-decluse", families=CLANG, searches=False),
    *rows(Role.CARRIED, F, "-fmodules-strict-decluse", families=CLANG, searches=False),
    *local("modules", S, "-iapinotes-modules", CLANG),
    # What only link-time optimisation hands to its own compiles.
    *local("lto-internal", J, "-fresolution= -fltrans -fwpa -fself-test= -flto-partition-file="),
    *local("lto-internal", J, "-fcodegen-data-use= -fthinlto-distributor=", CLANG),
    *local("lto-internal", J | S, "-Xthinlto-distributor=", CLANG),
    # Other languages than those of the C family.
    *local("language", S, "-hlsl-entry -validator-version -fintrinsic-modules-path -gnatO"),
    *local("language", S, "-Hd -Hf -Xf", GCC),
    *local("language", EITHER, "-J", GCC),
    *local("language", J, "-fpre-include= -fintrinsic-modules-path= -fmod= -fdef= -flibs="),
    *local("language", J, "-fobject-path= -hlsl- --dxv-path= -cpp= -ftarget-ar= -ftarget-ranlib="),
    # Several compiles in one.
    *local("offload", J, "--cuda --hip --offload -fopenmp-targets= -fsycl --no-offload -fgpu-rdc"),
    *local("offload", J, "--rocm --ptxas --libomptarget -foffload-lto --gpu -fcuda -fhip"),
    *local("offload", S, "-Xarch_device -Xarch_host -Xcuda-fatbinary -Xcuda-ptxas", CLANG),
    *local("offload", LONG, "-Xopenmp-target", CLANG),
    *local("offload", S, "-Xoffload-linker -mmlir", CLANG),
    *local(
        "offload", J, "--amdgpu-arch-tool= --nvptx-arch-tool= --no-cuda --libclc-lib= --sycl", CLANG
    ),
    *local("offload", J, "-nogpu -nohip --no-gpu-bundle-output -no-hip-rt -sycl-std=", CLANG),
    *local("nested-option", LONG, "-Xclangas", CLANG),
    *local("precompiled-header", F, "-ignore-pch", CLANG),
    *local("makes-pch", F, "--relocatable-pch", CLANG),
    *local("information", S, "-V -ccc-gcc-name -ccc-install-dir", CLANG),
    *local("other-action", S, "-ccc-arcmt-migrate -ccc-objcmt-migrate", CLANG),
    *local("offload", J, "-Xarch_ -Xopenmp-target= -Xoffload", CLANG),
    *local("repository", F, "-frepo", GCC),
)
