"""Options of which it is known that what they write does not depend on the output's name. Data.

An allow-list: a command with any other option keeps its own `-o` in its key. What is not here on purpose names
its side files after the output, or writes the name down: split debug information, coverage, profiles,
`-save-temps`, `-fstack-usage`, `-frecord-gcc-switches`, `-flto`, plugins, specs, words for the frontend.
`tests/unit/compiler/test_nameless_options.py` compiles with each of these under two names and compares the
bytes.
"""

from __future__ import annotations

import re

# Rows of the option table, by what they mean, whatever their operand.
ROWS = frozenset(
    b"-o -c -S -x -std= --std -ansi -trigraphs -traditional-cpp -D -U -A -include -imacros "
    b"-I -isystem -iquote -idirafter -iprefix -iwithprefix -iwithprefixbefore -isysroot -F --sysroot "
    b"-nostdinc -nostdinc++ -nostdlibinc -nobuiltininc -undef -stdlib= -pthread -fopenmp "
    b"-MD -MMD -MP -MF -MT -MQ "
    b"-W -O -m -march= -mcpu= -mtune= --param -w -pipe -p -pg -P -C -CC -pedantic -pedantic-errors "
    b"-canonical-prefixes -no-canonical-prefixes -Qunused-arguments "
    b"-Wl, -Xlinker -L -l -z -s -shared -static -static-pie -pie -no-pie -nopie -rdynamic -nostdlib "
    b"-nodefaultlibs -nostartfiles -static-libgcc -shared-libgcc -static-libstdc++ -fuse-ld "
    b"-fdebug-prefix-map= -ffile-prefix-map= -fmacro-prefix-map= -fdebug-compilation-dir= "
    b"-fmessage-length= -frandom-seed=".split()
)

# Members of the rows `-g`, `-f`, `-fdiagnostics-`, in full; `-fno-` goes with `-f`, any value with its name.
DEBUG = re.compile(
    rb"-g(?:[0-3]|gdb[0-3]?|dwarf(?:-[2-5])?|dwarf32|dwarf64|line-tables-only|mlt"
    rb"|(?:no-)?(?:column-info|strict-dwarf|variable-location-views|statement-frontiers|inline-line-tables)"
    rb"|z(?:=zlib|=none)?)?"
)
FEATURES = frozenset(
    b"PIC PIE pic pie plt visibility visibility-inlines-hidden exceptions rtti "
    b"asynchronous-unwind-tables unwind-tables non-call-exceptions "
    b"stack-protector stack-protector-all stack-protector-strong stack-protector-explicit "
    b"stack-clash-protection stack-check stack-reuse split-stack cf-protection zero-call-used-regs "
    b"trivial-auto-var-init patchable-function-entry instrument-functions "
    b"sanitize sanitize-recover sanitize-trap sanitize-undefined-trap-on-error sanitize-coverage "
    b"sanitize-address-use-after-scope "
    b"omit-frame-pointer optimize-sibling-calls strict-aliasing strict-overflow wrapv trapv "
    b"delete-null-pointer-checks isolate-erroneous-paths-dereference semantic-interposition "
    b"allow-store-data-races strict-volatile-bitfields strict-flex-arrays "
    b"common data-sections function-sections section-anchors ident weak gnu-unique toplevel-reorder "
    b"unit-at-a-time merge-constants merge-all-constants zero-initialized-in-bss keep-inline-functions "
    b"keep-static-consts tls-model extern-tls-init threadsafe-statics use-cxa-atexit "
    b"builtin freestanding hosted permissive gnu89-inline ms-extensions plan9-extensions "
    b"nonansi-builtins operator-names access-control lax-vector-conversions blocks "
    b"short-enums short-wchar signed-char unsigned-char signed-bitfields unsigned-bitfields pack-struct "
    b"reg-struct-return pcc-struct-return char8_t concepts coroutines aligned-new aligned-allocation "
    b"sized-deallocation new-ttp-matching elide-constructors enforce-eh-specs check-new "
    b"implicit-templates implicit-inline-templates abi-version abi-compat-version strict-enums "
    b"template-depth template-backtrace-limit constexpr-depth constexpr-steps constexpr-loop-limit "
    b"constexpr-ops-limit constexpr-cache-depth bracket-depth "
    b"inline inline-functions inline-small-functions inline-functions-called-once inline-limit "
    b"partial-inlining early-inlining indirect-inlining "
    b"math-errno trapping-math fast-math finite-math-only associative-math reciprocal-math signed-zeros "
    b"rounding-math unsafe-math-optimizations signaling-nans fp-contract excess-precision float-store "
    b"single-precision-constant cx-limited-range cx-fortran-rules fp-int-builtin-inexact "
    b"tree-vectorize tree-slp-vectorize tree-loop-vectorize tree-loop-distribute-patterns "
    b"tree-loop-distribution tree-pre tree-vrp tree-sra tree-ccp tree-dominator-opts tree-ter "
    b"tree-switch-conversion tree-tail-merge vectorize slp-vectorize vect-cost-model "
    b"simd-cost-model unroll-loops unroll-all-loops unswitch-loops peel-loops split-loops "
    b"ipa-pta ipa-cp ipa-cp-clone ipa-ra ipa-sra ipa-icf ipa-icf-functions ipa-icf-variables "
    b"ipa-pure-const ipa-vrp devirtualize devirtualize-speculatively "
    b"gcse gcse-after-reload gcse-las gcse-lm gcse-sm ivopts jump-tables align-functions align-loops "
    b"align-jumps align-labels reorder-blocks reorder-blocks-and-partition reorder-functions "
    b"schedule-insns schedule-insns2 crossjumping cse-follow-jumps dce dse expensive-optimizations "
    b"forward-propagate if-conversion if-conversion2 lifetime-dse live-range-shrinkage peephole "
    b"peephole2 predictive-commoning prefetch-loop-arrays rename-registers rerun-cse-after-loop "
    b"shrink-wrap split-paths split-wide-types ssa-phiopt store-merging thread-jumps tracer web "
    b"caller-saves combine-stack-adjustments conserve-stack defer-pop guess-branch-probability "
    b"hoist-adjacent-loads code-hoisting move-loop-invariants printf-return-value "
    b"openmp-simd lto "
    b"var-tracking var-tracking-assignments eliminate-unused-debug-types "
    b"eliminate-unused-debug-symbols debug-types-section debug-macro standalone-debug "
    b"limit-debug-info debug-info-for-profiling "
    b"color-diagnostics ansi-escape-codes caret-diagnostics show-column show-source-location "
    b"spell-checking elide-type diagnostics-color diagnostics-show-option diagnostics-show-caret "
    b"diagnostics-fixit-info diagnostics-show-template-tree diagnostics-plain-output "
    b"error-limit max-errors macro-backtrace-limit tabstop "
    b"input-charset exec-charset wide-exec-charset extended-identifiers dollars-in-identifiers".split()
)
# Only switched off: the option itself is not nameless.
ONLY_OFF = frozenset(b"lto".split())

# Words inside `-Wp,` and `-Wa,`.
PREPROCESSOR = re.compile(rb"-[DU].+")
ASSEMBLER = frozenset((b"--noexecstack", b"--execstack", b"--fatal-warnings", b"--no-warn"))
