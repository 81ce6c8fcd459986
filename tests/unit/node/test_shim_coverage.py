"""Every function of libc that looks up a path or starts a program is shadowed, or is left for a reason.

The library says what it exports, its headers what the parameters are called. A function that a libc adds, a
word that its headers use for a parameter, and an exported name without a header each fail here until
somebody has looked at them.
"""

from __future__ import annotations

import glob
import re

import pytest

from node.sandbox.calls import ALLOWED
from tests.support.libc_prototypes import char_parameters, declared, exports_of
from tests.support.look_up_log import Log, make_log

# What the headers call a parameter that may be a path, a program or a command. Without a name: "".
PATH_WORDS = {
    "", "argv", "cat_name", "cmd", "command", "dir", "dirname", "file", "filename", "fname", "from",
    "from_pathname", "name", "new", "old", "path", "pathname", "pattern", "special", "special_file",
    "template",
    "to", "to_pathname", "tty", "words", "wtmp_file", "wtmpx_file",
}  # fmt: skip
# What they call other text.
TEXT_WORDS = {
    "accept", "action", "ahost", "arg", "argz", "asc", "ascii", "assertion", "before", "binary", "buf",
    "buffer",
    "bufloc", "bufp", "codeset", "cp", "dbname", "delim", "dest", "domain", "domainname", "domainp", "dst",
    "endptr", "entry", "envp", "envz", "envz2", "errbuf", "f", "fmt", "format", "fromcode", "fs_name",
    "fstype",
    "function", "haystack", "host", "hostname", "hostp", "ident", "ifname", "inbuf", "key", "label", "line",
    "lineptr", "list", "locale", "locuser", "mode", "modes", "msg", "msg_ptr", "msgid", "msgid1", "msgid2",
    "needle", "netgroup", "nptr", "opt", "optionp", "outbuf", "pass", "pfx", "prompt", "property", "proto",
    "ptr",
    "reject", "remuser", "resolved", "response", "rhost", "s", "s1", "s2", "salt", "save_ptr", "serv",
    "service",
    "shortopts", "src", "statebuf", "str", "string", "string1", "string2", "stringp", "tag", "tagb", "text",
    "tocode", "tokens", "user", "userp", "ut_host", "ut_line", "ut_name", "value", "valuep", "vec", "version",
    "with",
}  # fmt: skip
# Functions with such a parameter, and others that open files by themselves, which leave no record.
NOT_SHADOWED = {
    "the text is no path, or is cut and not looked up": """
        __assert __assert_fail __assert_perror_fail __xpg_basename argp_help argp_parse argz_create
        argz_extract
        basename dirname dlsym dlvsym envz_add envz_entry envz_get envz_remove error_at_line fgetxattr fnmatch
        fremovexattr fsetxattr getopt getopt_long getopt_long_only __posix_getopt getdomainname gethostname
        glob_pattern_p memfd_create openpty forkpty
        pthread_setname_np re_compile_pattern regcomp setdomainname setenv sethostname setlogin unsetenv
        verrx""",
    "a name of the domain name system; there is no network": """
        dn_comp dn_expand dn_skipname ns_name_compress ns_name_ntop ns_name_pack ns_name_pton ns_name_skip
        ns_name_uncompress ns_name_unpack res_dnok res_hnok res_mailok res_mkquery res_nmkquery res_nquery
        res_nquerydomain res_nsearch res_nsend res_ownok res_query res_querydomain res_search res_send
        ns_get16 ns_get32 ns_initparse
        ns_put16 ns_put32 ns_skiprr""",
    "denied by the sandbox's filter": """
        acct chroot delete_module fspick init_module mount mount_setattr move_mount open_tree pivot_root
        quotactl swapoff swapon umount umount2""",
    "files of a locale, which go along with the job by rule": """
        bindtextdomain dcgettext dcngettext dgettext dngettext gettext iconv_open newlocale ngettext
        setlocale""",
    "what it reads shows in what localtime and mktime tell, which are logged": """
        strftime strftime_l tzset wcsftime""",
    "the number of processors decides how many threads there are, not what they write": """
        get_nprocs get_nprocs_conf getloadavg sysconf""",
    "loads libgcc_s, to report a crash or to end a thread": "backtrace pthread_cancel pthread_exit",
    "an empty file without a name": "tmpfile tmpfile64",
    "tells, and does not ask": "openlog syslog vsyslog logwtmp",
    "a child between it and exec may only start a program": "vfork __vfork",
    "the descriptor's own place": "ttyname ttyname_r getcwd getwd get_current_dir_name",
}  # fmt: skip
# Exported without a header's word, and not spelled like a function with one.
UNDECLARED = {
    "standard streams' inner parts, on what is open": r"_IO_\w+|__w?(under|over|u)flow|__woverflow",
    "Sun's remote procedure calls": r"""xdr\w*|svc\w*|clnt\w*|auth\w+|key_\w+|pmap_\w+|xprt_\w+|_rpc_\w+|
        __rpc_\w+|_authenticate|callrpc|registerrpc|_seterr_reply|get(netname|publickey|secretkey|rpcport)|
        rtime|get_myaddress|host2netname|netname2\w+|user2netname|passwd2des|[ex]?(encrypt|decrypt)|(cbc|ecb)_crypt|
        des_setparity|__ivaliduser|ruserpass""",
    "text, numbers and characters": r"""__(str|wcs|mem|stp|wcp|wmem|mbs|mb|is|tow|to|wct|raw|bzero|ffs)\w+|
        re_\w+|reg\w+|fnmatch|step|advance|__bzero|__ffs|__explicit_\w+|pow10\w*|_?obstack_\w+""",
    "threads, clocks, memory and the start of a program": r"""_?_?pthread_\w+|__libc_\w+|__cxa_\w+|_?mcount|
        moncontrol|__cyg_\w+|__fentry__|__stack_chk_fail|__chk_fail|__fdelt_\w+|__default_morecore|
        __tls_get_addr|_dl_\w+|_dls\w+|__dls\w+|_init|_fini|__profile_frequency|__register_atfork|cfree|sstk|vtimes|stime|
        __sbrk|__setjmp|sigsetjmp|_?_?sig\w+|__xpg_\w+|bsd_signal|__backtrace\w*|__printf_fp|arch_prctl|
        __arch_prctl|modify_ldt|__x86_\w+|cap(get|set)|issetugid|membarrier|__flt_rounds|\w+_placeholder""",
    "descriptors that are open, and sockets": r"""llseek|(get|put)p?msg|isastream|fdetach|fchflags|getdents|
        __fx?stat(64)?|__gets_chk|__bsd_getpgrp|strlcat|strlcpy|__f(reada|readp|seterr|getwc|putwc)\w*|
        fgetln|fpurge|gets|pidfd_(getfd|open|send_signal)|posix_close|res_init|tc[gs]etwinsize""",
    "mathematics": r"__\w+_finite|matherr",
    "name services' inner parts": r"__nss_\w+",
    "calls that Linux no longer has, or answers with ENOSYS": r"""bdflush|create_module|get_kernel_syms|
        nfsservctl|query_module|sysctl|__sysctl|tr_break|ustat|chflags|fattach""",
}  # fmt: skip
# These open files by themselves: users, groups, machines, terminals.
OPENING = re.compile(
    r"get(pw|gr|sp|sg)(nam|uid|gid|ent)(_r)?|get(host|net|proto|serv|rpc|alias)(by\w+|ent)(_r)?"
    r"|(glob|n?ftw)(64)?"
    r"|mktime|timelocal|ctime(_r)?|localtime(_r)?|fts(64)?_open|dlm?open|system|popen|wordexp|exec\w+|fexecve"
    r"|(posix|pidfd)_spawnp?|clone|_?fork|syscall"
)
GLIBC = [
    path
    for name in ("libc.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libm.so.6", "ld-linux-*.so.*")
    for place in ("/lib/*-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib")
    for path in glob.glob(f"{place}/{name}")
]  # fmt: skip
MUSL = glob.glob("/usr/lib/*-linux-musl/libc.so") or glob.glob("/lib/ld-musl-*.so.1")
LIBRARIES = {"glibc": GLIBC, "musl": MUSL}
LEFT = {name for names in NOT_SHADOWED.values() for name in names.split()}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return make_log(str(tmp_path_factory.mktemp("shim")))


@pytest.fixture(scope="module")
def shadows(log: Log) -> frozenset[str]:
    return exports_of(log.library).exported


@pytest.fixture(scope="module")
def prototypes() -> dict[str, str]:
    found = declared()
    assert {"open", "fopen", "glob64", "fts64_open", "execveat", "posix_spawnp", "dlmopen"} <= set(
        found
    )
    return found


@pytest.fixture(params=["glibc", "musl"])
def libraries(request: pytest.FixtureRequest) -> list[str]:
    found = LIBRARIES[request.param]
    if not found:
        pytest.skip(f"no {request.param} here")
    return found


def test_what_looks_up_a_path_or_starts_a_program_is_shadowed(
    libraries: list[str], shadows: frozenset[str], prototypes: dict[str, str]
) -> None:
    library = exports_of(*libraries)
    missing = {
        name
        for name in library.exported - shadows - LEFT
        for other in (name, _stem(name, prototypes), *library.aliases[name])
        if other not in LEFT and _looks_up(other, prototypes)
    }
    assert not missing, (
        f"shadow these in node/shim, or say in NOT_SHADOWED why not: {sorted(missing)}"
    )


def test_every_word_for_a_parameter_is_known(
    libraries: list[str], prototypes: dict[str, str]
) -> None:
    words = {
        word
        for name in exports_of(*libraries).exported & prototypes.keys()
        for word in char_parameters(prototypes[name])
    }
    new = words - PATH_WORDS - TEXT_WORDS
    assert not new, f"may these be paths? {sorted(new)}"
    assert not PATH_WORDS & TEXT_WORDS


def test_every_exported_name_without_a_header_is_known(
    libraries: list[str], shadows: frozenset[str], prototypes: dict[str, str]
) -> None:
    known = re.compile("|".join(re.sub(r"\s", "", each) for each in UNDECLARED.values()))
    new = {
        name
        for name in exports_of(*libraries).exported - shadows - LEFT - prototypes.keys()
        if _stem(name, prototypes) not in prototypes and not known.fullmatch(name)
    }
    assert not new, f"what do these look up? {sorted(new)}"


def test_what_is_left_is_not_shadowed_and_what_is_denied_is_denied(shadows: frozenset[str]) -> None:
    assert not LEFT & shadows
    denied = set(NOT_SHADOWED["denied by the sandbox's filter"].split()) - {"umount"}
    assert not denied & ALLOWED.keys()


def _looks_up(name: str, prototypes: dict[str, str]) -> bool:
    words = char_parameters(prototypes[name]) if name in prototypes else []
    return bool(PATH_WORDS & set(words)) or OPENING.fullmatch(name) is not None


def _stem(name: str, prototypes: dict[str, str]) -> str:
    """The declared function that one without a header is another spelling of, or itself."""
    if name in prototypes:
        return name
    bare = re.sub(r"^(__libc_|__isoc99_|_IO_|__x?|_)|(_chk|_2|64|_internal|_l)$", "", name)
    bare = re.sub(r"^(__libc_|_IO_|__x?|_)|(_chk|_2|64)$", "", bare)
    return next(
        (each for each in (bare, f"{bare}_r", bare.removesuffix("64")) if each in prototypes), name
    )
