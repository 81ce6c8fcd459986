"""Every reason why a compile ran here, was no hit, was listed or was refused. Pure data.

Owns the code, the sentence and the advice of each. A new reason is a row here and the place that gives it;
`make docs` then writes `docs/reference/reasons.md` anew. What is special about one call (a path, an option, a
limit) stands in a `detail` beside the reason, never in it.

The code is what statistics, notebooks, messages and metrics hold: it is never changed, and a reason that goes
leaves its code in RETIRED. Text from elsewhere (another zcc's file, a broker's Refused) may be a code
that this zcc does not have: `reason_of` tells.

These are not the words of `zcc why-node` (why a job went to its node) nor those of audits (broker/).
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What may be said of a reason as a whole."""

    CHOICE = "choice"  # nothing that a farm could take, or it ends sooner here: that is no fallback
    LIMIT = "limit"  # only this machine is known to write the same bytes
    FAULT = "fault"  # something is not as it should be: a result, a disk, a bug of zcc
    FARM = "farm"  # there is no farm, or it does not take this job
    MISS = "miss"  # this machine's cache has no answer, wherever it is compiled then


CHOICE, LIMIT, FAULT, FARM, MISS = Kind

NOTHING = "Nothing to do."
_LEAVE_OUT = "Leave the option out."
_REPORT = "Report it, with what agent.log says: this is a bug of zcc."
_AT_FARM = "Nothing to do; if it lasts, ask who runs the broker."
# ccache's names of counters that several reasons go to.
_ARGUMENTS, _OUTPUT, _INPUT = "bad_compiler_arguments", "bad_output_file", "no_input_file"
_CODE, _OPTION = "unsupported_code_directive", "unsupported_compiler_option"
_LANGUAGE, _MODULES = "unsupported_source_language", "could_not_use_modules"
_PCH = "could_not_use_precompiled_header"


class Reason(StrEnum):
    """code, kind, the counter of ccache that it goes to (empty: a miss there), what is the case, why that
    counts, what to do."""

    kind: Kind
    ccache: str
    what: str
    why: str
    advice: str

    def __new__(
        cls, code: str, kind: Kind, ccache: str, what: str, why: str, advice: str
    ) -> Reason:
        member = str.__new__(cls, code)
        member._value_ = code
        member.kind, member.ccache = kind, ccache
        member.what, member.why, member.advice = what, why, advice
        return member

    @property
    def is_choice(self) -> bool:
        """Whether running here for this is no fallback."""
        return self.kind is CHOICE

    @property
    def sentence(self) -> str:
        """What is the case, and why that counts."""
        return f"{self.what} {self.why}" if self.why else self.what

    # fmt: off

    # ---- choices: what the command is (compiler/commandline, agent/analysis) ----
    NOT_A_COMPILE = ("not-a-compile", CHOICE, "called_for_link",
        "The command has neither -c nor -S.", "It links, and links run here.", NOTHING)
    PREPROCESS_ONLY = ("preprocess-only", CHOICE, "called_for_preprocessing",
        "The command stops behind the preprocessor (-E, -M).", "It compiles nothing.", NOTHING)
    SYNTAX_ONLY = ("syntax-only", CHOICE, _OPTION,
        "The command only checks the syntax.", "It writes nothing that could be kept.", NOTHING)
    INFORMATION = ("information", CHOICE, _INPUT,
        "The command asks the compiler about itself.", "The answer is this compiler's own.", NOTHING)
    VERBOSE = ("verbose", CHOICE, _OPTION,
        "The command has the driver show its steps (-v, -###).", "They name files of this machine.", NOTHING)
    OTHER_ACTION = ("other-action", CHOICE, _OPTION,
        "The command has clang do something else than compile.", "The farm only compiles.", NOTHING)
    MAKES_PCH = ("makes-pch", CHOICE, _PCH,
        "The command makes a precompiled header.", "It is made once, and read here.", NOTHING)
    NO_SOURCE = ("no-source", CHOICE, _INPUT,
        "The command names no source.", "The compiler itself has to say so.", "Name a source.")
    STDIN_SOURCE = ("stdin-source", CHOICE, _INPUT,
        "The source comes from standard input.", "Only one process can read it.",
        "Write it to a file first, if the farm is to compile it.")
    OUTPUT_TO_STDOUT = ("output-to-stdout", CHOICE, "output_to_stdout",
        "The output goes to standard output.", "Nothing is left that could be kept.", NOTHING)
    OUTPUT_TO_DEVICE = ("output-to-device", CHOICE, _OUTPUT,
        "An output is a device.", "A node has devices of its own, and names that follow from /dev/null show.",
        "Name a file. With -o /dev/null leave out what is named after it: -MD without -MF, -fstack-usage.")
    CONFTEST = ("conftest", CHOICE, "autoconf_test",
        "The source is conftest.*, a question of a configure script.", "It is asked once, and is short.",
        NOTHING)
    NO_COMPILER = ("no-compiler", CHOICE, "could_not_find_compiler",
        "There is no such compiler.", "", "Check its name and PATH.")
    MISSING_SOURCE = ("missing-source", CHOICE, _INPUT,
        "The source does not exist.", "The compiler itself has to say so.", "Check its name.")
    WRAPPER = ("wrapper", CHOICE, "",
        "A wrapper runs the compiler: ccache and its like, or gcc's -wrapper.",
        "What it calls may be zcc again.",
        NOTHING)

    # ---- choices: where it ends sooner, or is to be seen (agent/core, agent/shell.py) ----
    SOONER_HERE = ("sooner-here", CHOICE, "",
        "The farm would have ended the compile later than this machine.", "A processor was idle here.",
        'Nothing to do. The setting local = "fallback" keeps such compiles on the farm (then zcc agent stop).')
    SMALL = ("small", CHOICE, "",
        "The compile is over here before the farm could answer.", "A processor was idle here.",
        'Nothing to do. The setting local = "fallback" keeps such compiles on the farm (then zcc agent stop).')
    RACED = ("raced", CHOICE, "",
        "The compile was late on the farm, was done here too, and ended here first.", "", NOTHING)
    COMPILE_ERROR = ("compile-error", CHOICE, "compile_failed",
        "The compile failed on a node, and was run again here.", "You read the messages of your own compiler.",
        "Mend what the compiler names.")
    VERIFY = ("verify", CHOICE, "",
        "The compile was done here too, to check a result from elsewhere.",
        "ZCC_VERIFY or the setting verify asks for it.", NOTHING)

    # ---- limits: words of the command (compiler/commandline) ----
    UNKNOWN_OPTION = ("unknown-option", LIMIT, _OPTION,
        "An option that zcc does not know may name a file.", "What it reads or writes cannot be told.",
        "Report the option; zcc stats lists those that it does not know.")
    NESTED_OPTION = ("nested-option", LIMIT, _OPTION,
        "An option for another program (-Xclang, -Wa, -Wp, -mllvm) is not known.",
        "It may read or write files.",
        "Leave it out, or report it.")
    MISSING_OPERAND = ("missing-operand", LIMIT, _ARGUMENTS,
        "The last option lacks its operand.", "The compiler itself has to say so.", "Add the operand.")
    END_OF_OPTIONS = ("end-of-options", LIMIT, "",
        "The command has -- for gcc.", "Most gccs take it for an error.", "Leave the -- out.")
    MULTIPLE_ARCH = ("multiple-arch", LIMIT, "",
        "The command compiles for several architectures.", "That is several compiles in one.",
        "Give each -arch a command of its own.")
    SEVERAL_SOURCES = ("several-sources", LIMIT, "multiple_source_files",
        "The command has several sources, and cannot be split.",
        "One source's outputs meet another's, the driver speaks for all, or the words stand in a file.",
        "Give each source a command of its own.")
    LISTING_TIME = ("listing-time", LIMIT, _OPTION,
        "The assembler's listing says when it was made (-Wa,-ag).", "A kept one would have an old time.",
        "Leave the g out of -a.")
    TIME_REPORT = ("time-report", LIMIT, _OPTION,
        "The command asks how much time or memory the compiler takes.", "Each run takes its own.", _LEAVE_OUT)
    TIME_STAMP = ("time-stamp", LIMIT, "",
        "The object holds the time at which it is made.", "A kept one would have an old time.",
        "Leave -mincremental-linker-compatible out.")
    VERBOSE_ASM = ("verbose-asm", LIMIT, "",
        "The command has -fverbose-asm.", "gcc then writes numbers that follow from this machine's memory.",
        _LEAVE_OUT)
    MACHINE = ("machine", LIMIT, "",
        "The command has --machine.", "It may ask for this machine's own processor.",
        "Write -march= or the like.")
    NATIVE = ("native", LIMIT, _OPTION,
        "The command asks for this machine's processor (native).",
        "It has no description by which to find its like.",
        "Name a processor, as in -march=armv8-a.")
    MODULES = ("modules", LIMIT, _MODULES,
        "The compile makes or reads modules.", "One compile reads what another has just written.",
        "Switch modules off where a source needs none (CMake: CMAKE_CXX_SCAN_FOR_MODULES=OFF).")
    MODULE_MAP = ("module-map", LIMIT, _MODULES,
        "A module map cannot be read as clang reads it.", "What it names has to go along.",
        "Mend what stands in brackets.")
    PLUGIN = ("plugin", LIMIT, _OPTION,
        "The compile uses a plugin that cannot go along.", "It reads, asks for or writes what no option names.",
        "Leave the plugin out, or name its files in its arguments.")
    LTO_INTERNAL = ("lto-internal", LIMIT, "",
        "The command is a step of link-time optimization.", "It belongs to a link, and links run here.",
        NOTHING)
    LANGUAGE = ("language", LIMIT, "",
        "The source is in no language of the C family.", "What a compile of it reads is not known.", NOTHING)
    OFFLOAD = ("offload", LIMIT, "",
        "The command compiles for an accelerator too (CUDA, HIP, SYCL, OpenMP).",
        "That is several compiles in one.",
        NOTHING)
    LINKER_INPUT = ("linker-input", LIMIT, _LANGUAGE,
        "The source is an object or a library.", "There is nothing in it to compile.", "Check the command.")
    REPOSITORY = ("repository", LIMIT, "",
        "The command has -frepo.", "One compile then reads what another has written.", _LEAVE_OUT)
    PROGRAM_PREFIX = ("program-prefix", LIMIT, "",
        "The command chooses the compiler's programs (-B, --prefix).",
        "The toolchain on a node has its own alone.",
        "Name the compiler of that directory by its path instead.")
    RESOURCE_DIRECTORY = ("resource-directory", LIMIT, "",
        "The command chooses clang's own headers (-resource-dir).",
        "The toolchain on a node has its own alone.",
        "Name the clang that they belong to by its path instead.")
    CONFIG_FILE = ("config-file", LIMIT, "",
        "Options come from a file or from the compiler's name (*.cfg, specs, --config, --driver-mode).",
        "They may write files, or read the environment, and no command line shows it.",
        "Give these options on the command line.")
    EMBED_DIRECTORY = ("embed-directory", LIMIT, "",
        "The command says where #embed looks (--embed-dir).", "The scanner does not look there.", _LEAVE_OUT)
    FILE_LIST = ("file-list", LIMIT, "",
        "The sources stand in a file (-filelist).", "zcc does not read it.", "Name the source in the command.")
    VFS_OVERLAY = ("vfs-overlay", LIMIT, "",
        "The command gives files other names (-ivfsoverlay).", "The scanner sees the names on the disk.",
        _LEAVE_OUT)
    HEADER_MAP = ("header-map", LIMIT, "",
        "The command has -index-header-map.", "The scanner does not read header maps.", _LEAVE_OUT)
    PROFILE_USE = ("profile-use", LIMIT, "",
        "The command has -fcs-profile-use.", "clang says at once that it knows no such option.",
        "Name the profile with -fprofile-use=.")
    BUILD_SESSION = ("build-session", LIMIT, "",
        "The command tells a build's session by a time (-fbuild-session-).", "Times of files are this disk's.",
        _LEAVE_OUT)
    DUMP_NAMES = ("dump-names", LIMIT, _OPTION,
        "The command says how side files are called (-dumpbase, -dumpdir).",
        "Which they are cannot be told before.",
        _LEAVE_OUT)
    DUMP_OUTPUT = ("dump-output", LIMIT, _OPTION,
        "The command writes a dump whose name cannot be told before.", "A job declares what it writes.",
        "Leave it out. -fdump-tree-X, -fdump-rtl-X, -fdump-ipa-X, -fdump-lang-X and -da go to the farm.")
    APPENDED_OUTPUT = ("appended-output", LIMIT, _OPTION,
        "The command names the file of a dump or a report (-fdump-tree-all=FILE, -fopt-info=FILE).",
        "gcc writes behind what other compiles have put there, and a job gives back whole files.",
        "Leave out =FILE: dumps then have files of their own, and -fopt-info writes to the terminal.")
    REPRODUCER = ("reproducer", LIMIT, "",
        "The command has -gen-reproducer.", "It leaves files in the temporary directory.", _LEAVE_OUT)
    DIAGNOSTICS_FILE = ("diagnostics-file", LIMIT, "",
        "The command has gcc write its messages into files (-fdiagnostics-add-output=).",
        "Which they are cannot be told before.", "Take -fdiagnostics-format=sarif-file.")
    COMPARE_DEBUG = ("compare-debug", LIMIT, "",
        "The command has -fcompare-debug.", "gcc then compiles twice, and compares dumps.", _LEAVE_OUT)
    RESPONSE_MISSING = ("response-missing", LIMIT, _ARGUMENTS,
        "A response file (@file) cannot be read.", "The compiler itself has to say so.", "Check its name.")
    RESPONSE_SIZE = ("response-size", LIMIT, "",
        "The response files are too large, or name each other.", "At most 4 MiB and 2,000 files are read.",
        "Split the command.")
    RESPONSE_ENCODING = ("response-encoding", LIMIT, "",
        "A response file begins with a mark of its encoding, or holds a NUL.",
        "Compilers read that differently.",
        "Write it as plain text.")
    RESPONSE_QUOTING = ("response-quoting", LIMIT, "",
        "A response file has a backslash that releases of gcc read differently.", "Its words cannot be told.",
        "Write each backslash twice, and none in single quotes.")
    LONG_COMMAND = ("long-command", LIMIT, "",
        "The command is too long for a node.", "Some 4,000 arguments or half a megabyte can be started there.",
        "Put the arguments into a response file (@file).")
    OUT_OF_BOUNDS = ("out-of-bounds", LIMIT, "",
        "The job breaks a bound of the protocol.", "No broker would take it.",
        "See the bound in brackets in docs/reference/bounds.md.")

    # ---- limits: outputs (compiler/commandline, agent/analysis/output_places.py, agent/results) ----
    DEFAULT_OUTPUT = ("default-output", LIMIT, "",
        "The output of a compile for Windows has no name.", "clang calls it .o or .obj, by its target.",
        "Name it with -o.")
    ODD_OUTPUT = ("odd-output", LIMIT, _OUTPUT,
        "The output's name is empty, a directory's, or that of another output.", "The compiler has to say so.",
        "Give each output a name of its own.")
    OUTPUT_IS_SOURCE = ("output-is-source", LIMIT, _OUTPUT,
        "An output is the source.", "The compiler refuses that, and has to say so.",
        "Give the output another name.")
    OUTPUT_IS_INPUT = ("output-is-input", LIMIT, _OUTPUT,
        "An output is an input too, by its name or a link.",
        "What is read of it depends on when the compiler empties it.",
        "Remove the output, or give it another name.")
    OUTPUT_DIRECTORY = ("output-directory", LIMIT, _OUTPUT,
        "An output's directory does not exist, or may not be written.", "The compiler itself has to say so.",
        "Make the directory, or mend its mode.")
    OUTPUT_NOT_PLAIN = ("output-not-plain", LIMIT, _OUTPUT,
        "An output exists that only the compiler can write as it would.",
        "It is another user's, no plain file, or the same as another output.", "Remove it.")
    TRACE_IN_TEMPORARY = ("trace-in-temporary", LIMIT, _OPTION,
        "clang leaves a step's trace or statistics beside a temporary file.", "Nobody can declare that name.",
        "Leave out -ftime-trace or -save-stats, or what makes it take several steps.")
    STALE_PROFILE = ("stale-profile", LIMIT, "",
        "A profile of an earlier build lies beside the object.", "gcc removes it, and no node could.",
        "Remove the .gcda files.")
    TEMPORARY_NAME = ("temporary-name", LIMIT, "",
        "An output or a message names the driver's temporary file.", "On a node that lies elsewhere.",
        "Leave -g out for assembly without line markers.")
    NAMES_NEUTRAL_PLACE = ("names-neutral-place", LIMIT, "",
        "An output names the neutral place where it was compiled.", "The command cannot be moved.",
        "Nothing to do: the next time it is compiled in its own place.")
    INODE_NAME = ("inode-name", LIMIT, _CODE,
        "clang names a function after its source's inode (#pragma omp target).",
        "On a node the file has another.",
        NOTHING)

    # ---- limits: what is around the command (agent/analysis, agent/launchers/peer.py, agent/calls.py) ----
    ENVIRONMENT = ("environment", LIMIT, "unsupported_environment_variable",
        "A variable changes what the compiler does in a way that no node repeats.",
        "It runs code inside, chooses programs or files, or has the compiler write some.",
        "Unset the variable in brackets, or mend what it names.")
    WORKING_DIRECTORY = ("working-directory", LIMIT, "",
        "The working directory has no name that a node could use.",
        "It is another mount's, another process's, renamed since, or an option's (-working-directory).",
        'Go there by its real path: cd "$(pwd -P)".')
    OTHER_NAMESPACE = ("other-namespace", LIMIT, "",
        "The compile sees other files than the agent (sandbox, chroot, container).", "The agent reads its own.",
        "Start an agent inside, with its own ZCC_SOCKET.")
    OTHER_RIGHTS = ("other-rights", LIMIT, "",
        "The agent may read files that the caller may not.", "The compile has to fail where the caller would.",
        "Call from where the agent was started, or restart it: zcc agent stop.")
    CLOSED_STREAM = ("closed-stream", LIMIT, "",
        "A standard stream is closed, and the command has -pipe.", "gcc's own pipe takes the stream's place.",
        "Leave -pipe out, or open the stream on /dev/null.")
    MIXED_STREAMS = ("mixed-streams", LIMIT, "",
        "Standard output and error go to one place, and both were written.",
        "A result does not hold their order.",
        "Send them to two places.")
    TERMINAL_DESCRIPTION = ("terminal-description", LIMIT, "",
        "The terminal's description is the user's own (~/.terminfo).", "clang's messages follow from it.",
        "Take a TERM that the system describes.")
    COMPILER_NOT_UNDERSTOOD = ("compiler-not-understood", LIMIT, "",
        "The compiler is no gcc or clang, or a program in front of one.", "What it does cannot be told.",
        "Call gcc or clang by its own path; zcc toolchain CC says what is wrong.")
    WRAPPER_WITHOUT_ZCC = ("wrapper-without-zcc", LIMIT, "",
        "ccache or its like runs the compiler, and does not call zcc.", "What it misses goes nowhere.",
        "Set CCACHE_PREFIX=zcc, without zcc in front of ccache.")

    # ---- limits: what files say (compiler/scan, compiler/text); listed: the compiler was asked ----
    COMPUTED_INCLUDE = ("computed-include", LIMIT, _CODE,
        "An #include is computed from macros that can mean too much.",
        "The scanner cannot tell which file it is.",
        "Nothing to do where the compiler lists it; a plain name is faster.")
    OUTSIDE_ROOTS = ("outside-roots", LIMIT, "",
        "A file lies outside of the project and of the system's directories.",
        "The scanner does not send such files.",
        "Nothing to do where the compiler lists it; a file in the checkout is faster.")
    ENCODING = ("encoding", LIMIT, "unsupported_source_encoding",
        "A file is in an encoding that the scanner does not read.", "Its directives cannot be told.",
        "Write it in UTF-8.")
    DISK = ("disk", LIMIT, "",
        "The disk gave an answer that the scanner does not trust.",
        "A file changed meanwhile, or is an odd one.",
        "Look at the path in brackets.")
    LISTING = ("listing", LIMIT, "",
        "The compiler could not list what it reads.", "It failed when it was asked with -M.",
        "Run the command with -M: its message says why.")
    TOO_LARGE = ("too-large", LIMIT, "",
        "The compile reads more files than a job may have.", "At most 32,768 inputs can be sent.",
        "Include less.")
    MISSING_INPUT = ("missing-input", LIMIT, "",
        "A file that the command names does not exist.", "The compiler itself has to say so.",
        "Check its name.")
    TIME_MACRO = ("time-macro", LIMIT, _CODE,
        "A file says __DATE__, __TIME__ or __TIMESTAMP__.", "A kept object would have an old time.",
        "Give them values with -D; for the first two SOURCE_DATE_EPOCH does it.")
    ASSEMBLER_INPUT = ("assembler-input", LIMIT, _CODE,
        "A file that the assembler reads cannot be found before (.incbin, .include).", "It has to go along.",
        "Name it plainly, and its directory with -Wa,-I.")
    PRECOMPILED_HEADER = ("precompiled-header", LIMIT, _PCH,
        "Which precompiled header is read cannot be told before.",
        "The order of a directory decides, a pragma names it, or messages tell of each.",
        "Keep one for each language in x.h.gch/, and leave -H and -Winvalid-pch out.")
    PRAGMA_DEPENDENCY = ("pragma-dependency", LIMIT, _CODE,
        "A file says #pragma GCC dependency.", "It compares times that only this disk has.",
        "Leave the pragma to the build tool.")
    PASTED_PROBE = ("pasted-probe", LIMIT, _CODE,
        "A file pastes __has_embed together (__has_ ## embed).", "What it asks for cannot be told.",
        "Write it in one piece.")
    SPECIAL_FILE = ("special-file", LIMIT, "",
        "A header is a pipe, a socket or a device.", "Whoever reads it first takes what is in it.",
        "Write it to a plain file first.")
    SHARED_INODE = ("shared-inode", LIMIT, "",
        "Two different files, or search directories, have one inode number.",
        "Compilers take them for one; on a node they would be two.",
        "Mount it so that inodes are its own (CIFS: serverino), or name a directory once.")

    # ---- faults: what came back is of no use (agent/results) ----
    PROOF = ("proof", FAULT, "",
        "The compiler saw other files on the node than it would here.", "The result was not used.",
        "Report the path, unless docs/design/limits.md names the case.")
    INPUTS_CHANGED = ("inputs-changed", FAULT, "modified_input_file",
        "An input changed while its compile was away.", "The result is one of files that are no more.",
        "Nothing to do, unless the build edits its sources while it compiles.")
    OUTPUT_MOVED = ("output-moved", FAULT, _OUTPUT,
        "An output goes elsewhere by now, or is no plain file any more.",
        "The compiler itself has to write it.",
        "Nothing to do, unless the build turns links while it compiles.")
    OUTPUT_MISSING = ("output-missing", FAULT, "",
        "The result lacks an output, or has one that nobody declared.", "The result was not used.", _REPORT)
    DAMAGED_RESULT = ("damaged-result", FAULT, "",
        "The result did not come whole.", "Its bytes are not what their digests say.",
        "Nothing to do; if it lasts: zcc cache verify, and zcc-broker cache verify.")
    DISPUTED = ("disputed", FAULT, "",
        "A check here has shown what the farm had for this job to be wrong.", "The result was not used.",
        "See the note in zcc stats: it names the node. What comes for this job is checked from now on.")
    NO_ROOM = ("no-room", FAULT, "",
        "There is no room to pack a compiler that is new.", "Its disk is full.",
        "Free some on the disk in brackets; zcc doctor names it.")
    ANALYSIS_FAILED = ("analysis-failed", FAULT, "internal_error",
        "zcc could not read what it needs for this command.", "", "Mend what stands in brackets, or report it.")
    INTERNAL_ERROR = ("internal-error", FAULT, "internal_error",
        "zcc failed over this command.", "", _REPORT)

    # ---- the farm, as the agent sees it (agent/core, agent/farm, agent/shell.py) ----
    NOT_JOINED = ("not-joined", FARM, "", "No farm is joined.", "", "zcc join TOKEN.")
    NO_FARM = ("no-farm", FARM, "",
        "The broker has not answered yet.", "", "Is it up, and its port open? zcc doctor tries it.")
    BROKER_SILENT = ("broker-silent", FARM, "",
        "The broker has said nothing for 5 seconds.", "", "Is it up, and its port open? zcc doctor tries it.")
    BROKER_STOPPED = ("broker-stopped", FARM, "",
        "The broker has said goodbye.", "", "Nothing to do, if it comes back; else start it.")
    KEY_REVOKED = ("key-revoked", FARM, "",
        "This machine's key has been revoked.", "", "Ask an admin for a token, and zcc join it.")
    SESSION_REFUSED = ("session-refused", FARM, "",
        "The broker takes no session of this key.", "", "zcc doctor says why.")
    PROTOCOL_ERROR = ("protocol-error", FARM, "",
        "The broker sent what it must not.", "", "Install the same zcc on both machines, or report it.")
    REMOTE_TIMEOUT = ("remote-timeout", FARM, "",
        "The farm gave no result in time.", "",
        "See zcc nodes; the setting remote_timeout_s says how long that is.")

    # ---- the farm, as the broker says it (Refused, docs/reference/protocol.md) ----
    NO_NODES = ("no-nodes", FARM, "",
        "No node that is here may run the job.", "", "zcc nodes says why; zcc-node serve starts one.")
    NODES_FAILED = ("nodes-failed", FARM, "",
        "Several nodes have lost the job, or did not answer in time.", "", "zcc why-node FILE says which.")
    NEEDS_MEMORY = ("needs-memory", FARM, "",
        "The compile was stopped for want of memory, and no node gives a job as much.", "",
        "Serve a node with more: zcc-node serve --memory.")
    JOB_REFUSED = ("job-refused", FARM, "",
        "A node says that the job itself is wrong.", "",
        "See what stands in brackets; the next hour it runs here.")
    JOBS_FAILED = ("jobs-failed", FARM, "",
        "Too many of this key's last jobs have failed on nodes.", "",
        "zcc why-node FILE says how; the broker tries again after 30 s or more.")
    INPUT_ABSENT = ("input-absent", FARM, "",
        "An input could not be sent.", "", "Nothing to do, unless files vanish while the build runs.")
    TOO_MANY_QUEUED = ("too-many-queued", FARM, "",
        "As many jobs of this key wait as may.", "", "Start fewer at a time: make -j$(zcc slots).")
    FARM_FULL = ("farm-full", FARM, "", "As many jobs wait on the farm as may.", "", _AT_FARM)
    BROKER_DISK = ("broker-disk", FARM, "",
        "The broker's disk refused an input.", "", "Free some of it: zcc-broker cache trim.")
    BROKER_FAILED = ("broker-failed", FARM, "", "The broker failed over this job.", "", _AT_FARM)
    RESULT_GONE = ("result-gone", FARM, "",
        "The result waited for this machine, and is not to be had any more.", "", _AT_FARM)
    UNREADABLE = ("unreadable", FARM, "",
        "The broker does not read this job.", "", "Install the same zcc on both machines, or report it.")

    # ---- misses of this machine's cache (agent/history, agent/results): `zcc why` ----
    FIRST = ("first", MISS, "", "Nothing is known of an earlier compile of it.", "", NOTHING)
    CHANGED = ("changed", MISS, "",
        "Something has changed since the compile before.", "", "See the differences that zcc why names.")
    REFUSED = ("refused", MISS, "",
        "What the cache holds does not hold any more.", "A name was looked for in vain, and is there now.",
        NOTHING)
    EVICTED = ("evicted", MISS, "",
        "Nothing has changed, but its result is not kept any more.", "",
        "Raise cache_size, if zcc stats says that much is evicted.")
    NOT_KEPT = ("not-kept", MISS, "",
        "Nothing has changed, but the compile before left no result to keep.", "", "See the reason beside it.")
    DAMAGED = ("damaged", MISS, "",
        "What the cache held was damaged, and is forgotten.", "", "Check the disk, if it lasts.")
    UNKNOWN = ("unknown", MISS, "", "This machine's cache does not hold it.", "", NOTHING)
    CACHE_OFF = ("cache-off", MISS, "", "The cache is off.", "", "Unset ZCC_CACHE, or mend the setting cache.")
    REFRESH = ("refresh", MISS, "", "A new compile was asked for (ZCC_CACHE=refresh).", "", NOTHING)
    NOT_A_JOB = ("not-a-job", MISS, "", "It can only run here.", "", "See the reason beside it.")
    # fmt: on


# Codes that old statistics may hold -> the counter of ccache that they went to.
RETIRED = {"not-a-source": _LANGUAGE, "objective-c": _LANGUAGE}


_BY_CODE: dict[str, Reason] = {each.value: each for each in Reason}


def reason_of(code: str) -> Reason | None:
    """The reason with this code; None where another zcc has given it."""
    return _BY_CODE.get(code)
