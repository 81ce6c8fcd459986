"""Toolchains of real compilers, packed once for all tests; and of a fake one that packs in no time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.sandbox.command_line import view_toolchain
from node.sandbox.remains import UnpackedToolchain as Unpacked
from node.toolchains.store import ToolchainStore, self_test
from tests.conftest import lacks
from tests.support.sandbox_toolchain import Farm, compare_with_local, make_job
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.paths import PathWalker
from zcc.compiler.disk.signatures import RACY_WINDOW_NS, Sightings, is_racy, signature_at
from zcc.compiler.scan.search_list import parse_search_list, query_arguments
from zcc.compiler.toolchain.elf import LibrarySearch, Loader, parse_cache, read_elf
from zcc.compiler.toolchain.index import MemberKind, Toolchain, ToolchainIndex, describe
from zcc.compiler.toolchain.members import gather
from zcc.compiler.toolchain.pack import pack, pack_compiler
from zcc.errors import CompilerError

SEARCH_PATH = b"/usr/local/bin:/usr/bin:/bin"
ENVIRONMENT = {b"PATH": SEARCH_PATH}


def find(name: str) -> bytes:
    found = shutil.which(name, path=os.fsdecode(SEARCH_PATH))
    if found is None:
        lacks(name)
    return os.fsencode(found)


@dataclass
class Packs:
    """The real compilers' toolchains, packed and unpacked when first asked for."""

    index: ToolchainIndex
    store: ToolchainStore

    def of(self, name: str) -> Toolchain:
        compiler = find(name)
        known = self.index.lookup(compiler, ENVIRONMENT)
        return known or pack_compiler(self.index, compiler, SEARCH_PATH)

    def unpacked(self, name: str) -> Unpacked:
        toolchain = self.of(name)
        self.store.install(toolchain.digest, toolchain.pack_path)
        root = self.store.root_of(toolchain.digest)
        return Unpacked(root, view_toolchain(root))


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    directory = tmp_path_factory.mktemp("toolchains")
    index = ToolchainIndex(str(directory / "index"))
    return Packs(index, ToolchainStore(str(directory / "store"), 4 << 30))


# ---- real compilers, run elsewhere -----------------------------------------------------------------


@pytest.fixture
def cwd(tmp_path: Path) -> bytes:
    path = os.fsencode(tmp_path) + b"/project"
    os.mkdir(path)
    with open(path + b"/a.c", "w") as file:
        file.write("#include <stdio.h>\nint main(void) { return puts(__FILE__); }\n")
    with open(path + b"/b.cc", "w") as file:
        file.write("#include <vector>\nint f() { return std::vector<int>(3).size(); }\n")
    with open(path + b"/bare.c", "w") as file:
        file.write("int f(int x) { return 6 * x; }\n")
    return path


COMPILES = [
    ("gcc -c a.c -o out", ()),
    ("gcc -S -O2 a.c -o out", ()),
    ("gcc -g -gsplit-dwarf -c a.c -o out.o", ("out.o", "out.dwo")),
    ("gcc -flto -frandom-seed=1 -c a.c -o out", ()),
    ("gcc -fopenmp -fsanitize=address,undefined -c a.c -o out", ()),
    ("cc -pipe -c a.c -o out", ()),
    ("g++ -g -O1 -c b.cc -o out", ()),
    ("g++ -S b.cc -o out", ()),
    ("clang -g -c a.c -o out", ()),
    ("clang -S a.c -o out", ()),
    ("clang -g -gsplit-dwarf -c a.c -o out.o", ("out.o", "out.dwo")),
    ("clang -flto -c a.c -o out", ()),
    ("clang -fno-integrated-as -g -c a.c -o out", ()),
    ("clang -fsanitize=address,undefined -c a.c -o out", ()),
    ("clang++ -g -c b.cc -o out", ()),
    ("aarch64-linux-gnu-gcc -g -O2 -c bare.c -o out", ()),
    ("aarch64-linux-gnu-gcc -g -gsplit-dwarf -c bare.c -o out.o", ("out.o", "out.dwo")),
]


def header_directories(argv: list[bytes], cwd: bytes) -> list[bytes]:
    """Where this compile searches headers: inputs of a job, which the scanner would find."""
    language = "c++" if b"b.cc" in argv else "c"
    said = subprocess.run(
        [argv[0], *query_arguments((), language)], cwd=cwd, env={"LC_ALL": "C", **os.environ},
        check=True, capture_output=True,
    ).stderr  # fmt: skip
    places = [os.path.realpath(place) for place in parse_search_list(said).all_directories()]
    return [place for place in places if os.path.isdir(place)]


@pytest.mark.parametrize(("command", "outputs"), COMPILES)
def test_a_packed_toolchain_compiles_as_it_does_at_home(
    packs: Packs, tmp_path: Path, cwd: bytes, command: str, outputs: tuple[str, ...]
) -> None:
    argv = [os.fsencode(word) for word in command.split()]
    find(command.split(maxsplit=1)[0])
    farm = Farm(str(tmp_path), packs.unpacked(command.split(maxsplit=1)[0]))
    try:
        names = [os.fsencode(name) for name in outputs] or [b"out"]
        inputs = header_directories(argv, cwd)
        job = make_job(farm.store, argv, cwd, inputs=inputs, outputs=names)
        lookups = compare_with_local(farm, job).lookups
    finally:
        farm.close()
    assert lookups.flaw == ""
    assert lookups.undeclared == ()
    missed = {directory + b"/" + name for directory, names in lookups.misses for name in names}
    written = {file for file in missed if file.startswith(cwd)}  # by the local run, meanwhile
    assert [path for path in sorted(missed - written) if os.path.lexists(path)] == []


@pytest.mark.parametrize("name", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_the_self_test_of_a_good_toolchain_passes(packs: Packs, tmp_path: Path, name: str) -> None:
    toolchain = packs.of(name)
    farm = Farm(str(tmp_path), packs.unpacked(name))
    try:
        test = self_test(toolchain.digest, packs.store.about(toolchain.digest))
        farm.store.put(test.source)
        outcome = farm.succeed(test.job)
    finally:
        farm.close()
    assert [file.path for file in outcome.outputs] == [test.output]
    assert outcome.outputs[0].data.startswith(b"\x7fELF")


# What strace shows and the toolchain need not have: headers are inputs, the rest is the sandbox's own.
# A PATH directory that holds no program of the toolchain is not in the job's PATH.
_ELSEWHERE = re.compile(rb"/(proc|dev|sys|tmp|etc/ld\.so\.cache)\b.*|.*/include\b.*")


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    "command",
    [
        "gcc -g -gsplit-dwarf -c bare.c",
        "g++ -flto -c b.cc",
        "clang -fno-integrated-as -c bare.c",
        "clang++ -fsanitize=address,undefined -c b.cc",
        "aarch64-linux-gnu-gcc -c bare.c",
    ],
)
def test_whatever_a_driver_finds_at_home_is_a_member(
    packs: Packs, cwd: bytes, command: str
) -> None:
    compiler = find(command.split(maxsplit=1)[0])
    toolchain = packs.of(command.split(maxsplit=1)[0])
    members = {member.path for member in toolchain.members} | {b"/"}
    places = {os.path.dirname(path) for path in (compiler, *toolchain.programs.values())}
    path = b":".join(place for place in SEARCH_PATH.split(b":") if place in places)
    subprocess.run(
        [b"strace", b"-f", b"-e", b"trace=file", b"-o", b"trace", compiler,
         *(os.fsencode(word) for word in command.split()[1:])],
        cwd=cwd, env={b"PATH": path, b"LC_ALL": b"C", b"TMPDIR": cwd}, check=True,
    )  # fmt: skip
    with open(cwd + b"/trace", "rb") as file:
        found = re.findall(rb'\((?:AT_FDCWD, )?"([^"]*)".*\) = (?!-)', file.read())
    walker = PathWalker()
    unknown = set()
    for spelled in found:
        if _ELSEWHERE.fullmatch(spelled):
            continue
        walked = walker.walk(spelled, cwd)
        for place in (walked.physical, *(link for link, _ in walked.symlinks)):
            mine = place is None or place.startswith(cwd) or cwd.startswith(place)
            if not mine and place not in members and not _ELSEWHERE.fullmatch(place or b""):
                unknown.add(place)
    assert unknown == set()


@pytest.mark.parametrize(
    "names", [("gcc", "g++", "cc", "c++"), ("clang", "clang++"), ("gcc", "/usr/bin/gcc-12")]
)
def test_every_name_of_a_compiler_has_the_same_toolchain(
    packs: Packs, names: tuple[str, ...]
) -> None:
    toolchains = [packs.of(name) for name in names]
    assert len({toolchain.digest for toolchain in toolchains}) == 1
    assert len({toolchain.pack_path for toolchain in toolchains}) == 1
    assert toolchains[0].family is (Family.CLANG if names[0] == "clang" else Family.GCC)


def test_the_order_of_path_does_not_show_in_the_digest(packs: Packs) -> None:
    compiler = find("gcc")
    other = pack_compiler(packs.index, compiler, b"/bin:/usr/bin")
    assert other.digest == packs.of("gcc").digest


def test_no_header_is_a_member(packs: Packs) -> None:
    for name in ("gcc", "clang"):
        paths = [member.path for member in packs.of(name).members]
        headers = [path for path in paths if path.endswith((b".h", b".hpp"))]
        assert [path for path in headers if not path.endswith(b"/cuda.h")] == []


# ---- compilers that are not sent -------------------------------------------------------------------


def test_a_script_is_not_sent(tmp_path: Path) -> None:
    script = os.fsencode(tmp_path) + b"/gcc"
    with open(script, "w") as file:
        file.write("#!/bin/sh\nexec gcc\n")
    os.chmod(script, 0o755)
    with pytest.raises(CompilerError, match="script"):
        gather(script, SEARCH_PATH)


@pytest.mark.parametrize("wrapper", ["ccache", "zcc", "distcc"])
def test_a_masquerade_is_not_sent(tmp_path: Path, wrapper: str) -> None:
    shutil.copy("/bin/true", tmp_path / wrapper)
    os.symlink(wrapper, tmp_path / "gcc")
    with pytest.raises(CompilerError, match="passes compiles on"):
        gather(os.fsencode(tmp_path / "gcc"), SEARCH_PATH)


def test_what_is_no_compiler_is_not_sent(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "gcc")
    with pytest.raises(CompilerError, match="neither gcc nor clang"):
        gather(os.fsencode(tmp_path / "gcc"), SEARCH_PATH)
    with pytest.raises(CompilerError, match="not there"):
        gather(os.fsencode(tmp_path / "none"), SEARCH_PATH)


@pytest.mark.parametrize(
    ("compile_it", "reason"),
    [
        ("gcc -static -nostdlib -x c - -o gcc", "static"),
        ("aarch64-linux-gnu-gcc -nostdlib -x c - -o gcc", "AARCH64"),
    ],
)
def test_a_program_that_cannot_be_logged_is_not_sent(
    tmp_path: Path, compile_it: str, reason: str
) -> None:
    find(compile_it.split(maxsplit=1)[0])
    subprocess.run(compile_it.split(), cwd=tmp_path, input=b"void _start(void) {}", check=True)
    with pytest.raises(CompilerError, match=reason):
        gather(os.fsencode(tmp_path / "gcc"), SEARCH_PATH)


# ---- a fake compiler: a few kilobytes that answer as gcc does --------------------------------------

FAKE_DRIVER = r"""
#include <stdio.h>
#include <string.h>
extern int helper(void);
int main(int argc, char **argv) {
    const char *home = HOME, *word = argc > 1 ? argv[argc - 1] : "";
    if (helper()) return 1;
    if (!strcmp(word, "-v")) fprintf(stderr, "Target: fake-linux\ngcc version 99 (fake)\n");
    if (!strncmp(word, "-print-prog-name=cc1", 20) && !word[20]) printf("%s/libexec/cc1\n", home);
    else if (!strncmp(word, "-print-prog-name=", 17)) printf("%s\n", word + 17);
    if (!strcmp(word, "-print-multi-lib")) printf(".;\n");
    if (!strcmp(word, "-print-search-dirs"))
        printf("install: %s/libexec/\nprograms: =%s/libexec/../libexec/\nlibraries: =%s/lib/\n",
               home, home, home);
    return 0;
}
"""


@dataclass
class Fake:
    home: bytes
    index: ToolchainIndex
    runs: Callable[[], int]

    @property
    def compiler(self) -> bytes:
        return self.home + b"/bin/gcc"

    @property
    def search_path(self) -> bytes:
        return self.home + b"/bin:/nowhere"

    def lookup(self) -> Toolchain | None:
        return self.index.lookup(self.compiler, {b"PATH": self.search_path})

    def pack(self) -> Toolchain:
        return pack_compiler(self.index, self.compiler, self.search_path)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """bin/gcc -> gcc-99 (links libhelper by $ORIGIN), bin/as, libexec/cc1."""
    home = tmp_path / "ho\udcffme"
    for name in ("bin", "lib", "libexec"):
        os.makedirs(home / name)
    quoted = "".join(f"\\{byte:03o}" for byte in os.fsencode(home))
    build = [b"gcc", b"-shared", b"-fPIC", b"-x", b"c", b"-", b"-o"]
    helper = os.fsencode(home) + b"/lib/libhelper.so"
    subprocess.run([*build, helper], input=b"int helper(void) { return 0; }", check=True)
    driver = os.fsencode(home) + b"/bin/gcc-99"
    subprocess.run(
        [b"gcc", b"-x", b"c", b"-", b"-x", b"none", os.fsencode(f'-DHOME="{quoted}"'),
         b"-L" + os.fsencode(home) + b"/lib", b"-lhelper", b"-Wl,-rpath,$ORIGIN/../lib",
         b"-o", driver],
        input=FAKE_DRIVER.encode(), check=True,
    )  # fmt: skip
    for name in ("bin/as", "libexec/cc1"):
        shutil.copy("/bin/true", home / name)
    os.symlink("gcc-99", home / "bin/gcc")
    packed: list[str] = []

    def counting(*arguments: object) -> object:
        packed.append("packed")
        return pack(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("zcc.compiler.toolchain.pack.pack", counting)
    return Fake(os.fsencode(home), ToolchainIndex(str(tmp_path / "index")), lambda: len(packed))


def test_a_compiler_is_packed_once_and_found_again(fake: Fake) -> None:
    assert fake.lookup() is None
    toolchain = fake.pack()
    assert fake.lookup() == toolchain
    reopened = ToolchainIndex(fake.index.directory)
    assert reopened.lookup(fake.compiler, {b"PATH": fake.search_path}) == toolchain
    assert fake.runs() == 1
    assert toolchain.version == "gcc version 99 (fake)"
    assert toolchain.programs["as"] == fake.home + b"/bin/as"
    assert toolchain.programs["cc1"] == fake.home + b"/libexec/cc1"
    paths = {member.path for member in toolchain.members}
    assert {fake.home + b"/lib/libhelper.so", fake.home + b"/bin/gcc"} <= paths


def test_packing_twice_gives_the_same_tar(fake: Fake, tmp_path: Path) -> None:
    gathered = gather(fake.compiler, fake.search_path)
    first = pack(gathered, str(tmp_path / "first"))
    for member in gathered.members:
        if member.kind is MemberKind.DIRECTORY and member.path.startswith(fake.home):
            os.utime(member.path)
    second = pack(gather(fake.compiler, fake.search_path), str(tmp_path / "second"))
    assert first.digest == second.digest
    assert first.size_bytes == second.size_bytes


@pytest.mark.parametrize(
    "name", [b"/bin/gcc-99", b"/libexec/cc1", b"/lib/libhelper.so", b"/bin/as"]
)
def test_touching_a_member_packs_once_more(fake: Fake, name: bytes) -> None:
    before = fake.pack()
    os.utime(fake.home + name, (1, 1))
    assert fake.lookup() is None
    after = fake.pack()
    assert fake.lookup() == after
    assert after.digest == before.digest  # the bytes are the same
    assert fake.runs() == 2


def made_before(fake: Fake, name: bytes) -> bytes:
    """A directory that gcc lists, whose times say nothing of what comes into it."""
    path = fake.home + name
    os.makedirs(path, exist_ok=True)
    os.utime(path, (1, 1))
    return path


def test_what_comes_into_a_listed_directory_shows_though_its_time_is_set_back(fake: Fake) -> None:
    listed = made_before(fake, b"/libexec/device-specs")
    before = fake.pack()
    assert fake.lookup() == before
    shutil.copy(b"/bin/true", listed + b"/specs-avr5")
    made_before(fake, b"/libexec/device-specs")
    assert fake.lookup() is None
    assert fake.pack().digest != before.digest


def test_no_listing_is_recorded_that_may_change_unseen(fake: Fake) -> None:
    made_before(fake, b"/libexec/device-specs")
    listed = dict(fake.pack().gathered.listed)
    now_ns = time.time_ns()
    assert not [path for path, sign in listed.items() if is_racy(sign, now_ns)]


def rewritten(path: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(b"\x7f")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (rewritten, b"/lib/libhelper.so"),
        (rewritten, b"/bin/as"),
        (os.unlink, b"/libexec/cc1"),
        (lambda path: os.symlink("/bin/true", path), b"/lib/specs"),
        (os.mkdir, b"/lib/glibc-hwcaps"),
        (os.mkdir, b"/libexec/device-specs/avr"),
        (lambda path: os.replace(shutil.copy(b"/bin/true", path + b"-2"), path), b"/bin/gcc"),
        (lambda path: os.rename(path, path + b"-2"), b"/libexec/device-specs"),
    ],
)
def test_a_toolchain_is_believed_only_while_all_of_it_is_what_it_was(
    fake: Fake, change: Callable[[bytes], None], name: bytes
) -> None:
    made_before(fake, b"/libexec/device-specs")
    gathered = gather(fake.compiler, fake.search_path)
    seen = Sightings(lambda: time.time_ns() + RACY_WINDOW_NS)
    gathered.watch(seen)
    assert seen.hold()
    assert gathered.is_current()
    change(fake.home + name)
    assert not seen.hold()
    assert not gathered.is_current()


@pytest.mark.parametrize("name", [b"/lib/specs", b"/libexec/cc1plus", b"/bin/g++-99"])
def test_a_file_that_appears_where_one_was_looked_for_packs_again(fake: Fake, name: bytes) -> None:
    before = fake.pack()
    shutil.copy(fake.home + b"/bin/gcc-99", fake.home + name)
    assert fake.lookup() is None
    assert fake.pack().digest != before.digest or name == b"/libexec/cc1plus"


def test_a_better_assembler_on_path_packs_again(fake: Fake, tmp_path: Path) -> None:
    early = os.fsencode(tmp_path) + b"/early"
    os.mkdir(early)
    path = early + b":" + fake.search_path
    before = pack_compiler(fake.index, fake.compiler, path)
    shutil.copy(b"/bin/true", early + b"/as")
    assert fake.index.lookup(fake.compiler, {b"PATH": path}) is None
    after = pack_compiler(fake.index, fake.compiler, path)
    assert after.programs["as"] == early + b"/as"
    assert after.digest != before.digest


def test_another_path_with_the_same_programs_needs_no_second_pack(fake: Fake) -> None:
    first = fake.pack()
    second = pack_compiler(fake.index, fake.compiler, b"/elsewhere:" + fake.search_path)
    assert (second.digest, second.pack_path) == (first.digest, first.pack_path)
    assert fake.runs() == 1


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x93\x01\x02\x03"])
def test_a_damaged_record_or_a_lost_pack_means_packing_again(fake: Fake, damage: bytes) -> None:
    toolchain = fake.pack()
    records = os.path.join(fake.index.directory, "records")
    (name,) = os.listdir(records)
    with open(os.path.join(records, name), "wb") as file:
        file.write(damage)
    fresh = ToolchainIndex(fake.index.directory)
    assert fresh.lookup(fake.compiler, {b"PATH": fake.search_path}) is None
    assert pack_compiler(fresh, fake.compiler, fake.search_path).digest == toolchain.digest
    os.truncate(toolchain.pack_path, 10)
    assert fresh.lookup(fake.compiler, {b"PATH": fake.search_path}) is None


def test_packs_that_nobody_names_are_removed(fake: Fake) -> None:
    before = fake.pack()
    shutil.copy(b"/bin/false", fake.home + b"/libexec/cc1")
    after = fake.pack()
    assert os.listdir(fake.index.packs_dir) == [os.path.basename(after.pack_path)]
    assert before.pack_path != after.pack_path


def test_a_refusal_holds_until_the_compiler_changes(fake: Fake) -> None:
    environment = {b"PATH": fake.search_path}
    fake.index.refuse(fake.compiler, environment, "it is a script")
    with pytest.raises(CompilerError, match="it is a script"):
        fake.lookup()
    os.utime(fake.home + b"/bin/gcc-99", (1, 1))
    assert fake.lookup() is None


def test_a_member_that_changes_while_it_is_packed_is_an_error(fake: Fake, tmp_path: Path) -> None:
    gathered = gather(fake.compiler, fake.search_path)
    with open(fake.home + b"/libexec/cc1", "ab") as file:
        file.write(b"more")
    out = tmp_path / "out"
    os.mkdir(out)
    with pytest.raises(CompilerError, match="changed"):
        pack(gathered, str(out / "pack"))
    assert os.listdir(out) == []


def test_a_missing_library_is_an_error(fake: Fake) -> None:
    os.unlink(fake.home + b"/lib/libhelper.so")
    with pytest.raises(CompilerError, match=r"libhelper\.so, which is not found"):
        gather(fake.compiler, fake.search_path)


def test_a_compiler_below_a_directory_that_is_a_symlink(fake: Fake, tmp_path: Path) -> None:
    link = os.fsencode(tmp_path) + b"/link"
    os.symlink(fake.home, link)
    gathered = gather(link + b"/bin/../bin/gcc", link + b"/bin")
    members = {member.path: member for member in gathered.members}
    assert members[link].target == fake.home
    assert members[fake.home + b"/bin/gcc-99"].is_executable


def test_the_child_prints_one_line_of_json(fake: Fake) -> None:
    command = fake.index.pack_command(fake.compiler, b"gcc", fake.search_path)
    done = subprocess.run(command, check=True, capture_output=True)
    answer = json.loads(done.stdout)
    assert answer["path"].endswith(answer["digest"] + ".tar.zst")
    assert answer["family"] == "gcc"
    toolchain = fake.lookup()
    assert toolchain is not None
    assert toolchain.digest.hex() == answer["digest"]
    assert json.loads(json.dumps(describe(toolchain)))["digest"] == answer["digest"]
    command[3] = b"/bin/sh"
    done = subprocess.run(command, check=False, capture_output=True)
    assert "error" in json.loads(done.stdout)
    assert done.returncode == 1


# ---- ELF -------------------------------------------------------------------------------------------


def test_needed_libraries_are_those_that_the_loader_itself_finds() -> None:
    """Compared with the loader's own list, on programs of this host."""
    for program in (
        b"/usr/bin/git",
        b"/usr/bin/strace",
        b"/usr/bin/ld",
        os.fsencode(sys.executable),
    ):
        physical = PathWalker().walk(program).physical
        if physical is None:
            continue
        search = LibrarySearch(PathWalker())
        search.add_program(physical)
        elf = read_elf(physical)
        assert elf is not None
        assert elf.interpreter is not None
        listed = subprocess.run(
            [elf.interpreter, b"--list", physical], capture_output=True, check=True
        ).stdout
        theirs = {os.path.realpath(path) for path in re.findall(rb"=> (/\S+)", listed)}
        ours = {os.path.realpath(path) for path in search.needs.paths}
        assert theirs <= ours
        assert all(b"/glibc-hwcaps/" in p or b"/ld-" in p for p in ours - theirs)


def test_a_program_in_front_of_gcc_is_named(tmp_path: Path) -> None:
    """It may add what it likes, by what it likes."""
    real = shutil.which("gcc")
    wrapper = tmp_path / "my-gcc"
    source = "#include <unistd.h>\nint main(int n, char **v) { v[0] = REAL; return n ? execv(v[0], v) : 0; }\n"
    command = ["gcc", f'-DREAL="{real}"', "-x", "c", "-", "-o", str(wrapper)]
    subprocess.run(command, input=source.encode(), check=True)
    with pytest.raises(CompilerError, match=r"my-gcc is a program in front of /.*gcc"):
        gather(os.fsencode(wrapper), os.environb[b"PATH"])


def test_builds_for_better_processors_go_along(fake: Fake) -> None:
    better = fake.home + b"/lib/glibc-hwcaps/x86-64-v3/libhelper.so"
    os.makedirs(os.path.dirname(better))
    shutil.copy(fake.home + b"/lib/libhelper.so", better)
    members = {member.path for member in gather(fake.compiler, fake.search_path).members}
    assert better in members


def test_a_toolchain_is_out_of_date_where_the_loader_may_find_another_library(fake: Fake) -> None:
    """A build for better processors has appeared, or ldconfig(8) has run."""
    gathered = gather(fake.compiler, fake.search_path)
    assert gathered.is_current()
    assert dict(gathered.listed)[b"/etc/ld.so.cache"] == signature_at(b"/etc/ld.so.cache")
    for kind in (b"glibc-hwcaps", b"tls"):
        os.mkdir(fake.home + b"/lib/" + kind)
        assert not gathered.is_current()
        gathered = gather(fake.compiler, fake.search_path)
        assert gathered.is_current()
        better = fake.home + b"/lib/" + kind + b"/libhelper.so"
        shutil.copy(fake.home + b"/lib/libhelper.so", better)
        assert not gathered.is_current()
        gathered = gather(fake.compiler, fake.search_path)
        assert better in {member.path for member in gathered.members}


def test_a_library_found_late_is_out_of_date_where_one_comes_before_it(fake: Fake) -> None:
    """As musl and whoever has no cache search: one directory after the other."""
    early, late = fake.home + b"/early", fake.home + b"/lib"
    os.mkdir(early)
    program = os.path.realpath(shutil.which("true") or lacks("true")).encode()
    search = LibrarySearch(PathWalker())
    elf = search.elf_at(program)
    assert elf is not None
    assert elf.interpreter is not None
    search._loaders[elf.interpreter] = Loader((early, late), b"lib", b"", reads_cache=False)
    search.add_optional_library(b"libhelper.so", program)
    assert search.needs.paths == {late + b"/libhelper.so"}
    assert early + b"/libhelper.so" in search.needs.absent


@pytest.mark.parametrize("tags", [b"-Wl,--enable-new-dtags", b"-Wl,--disable-new-dtags"])
def test_rpath_is_inherited_and_runpath_is_not(tmp_path: Path, tags: bytes) -> None:
    """program -> libone.so -> libtwo.so, where only the program says in which directory to look."""
    top = os.fsencode(tmp_path)
    link = [b"gcc", b"-x", b"c", b"-", b"-x", b"none", b"-L" + top, b"-Wl,--no-as-needed"]
    built = [
        [*link, b"-shared", b"-o", top + b"/libtwo.so"],
        [*link, b"-shared", b"-ltwo", b"-o", top + b"/libone.so"],
        [*link, b"-lone", b"-Wl,-rpath-link," + top, b"-Wl,-rpath,${ORIGIN}", tags,
         b"-o", top + b"/program"],
    ]  # fmt: skip
    for command in built:
        source = b"int main(void) { return 0; }" if command[-1].endswith(b"program") else b""
        subprocess.run(command, input=source, check=True)
    runs = subprocess.run([top + b"/program"], check=False, capture_output=True).returncode == 0
    assert runs == (tags == b"-Wl,--disable-new-dtags")
    search = LibrarySearch(PathWalker())
    if runs:
        search.add_program(top + b"/program")
        assert {top + b"/libone.so", top + b"/libtwo.so"} <= search.needs.paths
    else:
        with pytest.raises(CompilerError, match=r"libtwo\.so, which is not found"):
            search.add_program(top + b"/program")


def test_a_library_that_only_the_loader_cache_names_takes_the_cache_along(
    fake: Fake, tmp_path: Path
) -> None:
    program = os.fsencode(tmp_path) + b"/program"
    command = [b"gcc", b"-x", b"c", b"-", b"-x", b"none", b"-L" + fake.home + b"/lib"]
    subprocess.run(
        [*command, b"-Wl,--no-as-needed", b"-lhelper", b"-o", program],
        input=b"int main(void) { return 0; }", check=True,
    )  # fmt: skip
    search = LibrarySearch(PathWalker())
    search._cached = {b"libhelper.so": [fake.home + b"/lib/libhelper.so"]}
    search.add_program(program)
    assert fake.home + b"/lib/libhelper.so" in search.needs.paths
    assert search.needs.needs_cache
    other = LibrarySearch(PathWalker())
    other.add_program(fake.home + b"/bin/as")
    assert not other.needs.needs_cache


def test_a_damaged_loader_cache_is_no_cache() -> None:
    with open("/etc/ld.so.cache", "rb") as file:
        data = file.read()
    known = parse_cache(data)
    assert known[b"libc.so.6"]
    for damaged in (b"", data[:40], data[:60], b"x" * 100):
        assert parse_cache(damaged) == {}
