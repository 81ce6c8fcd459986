"""What the first word behind `zcc` means: the real launcher, with scripts for what it may become."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zcc.cli import main
from zcc.cli.explain import FILE_ENDINGS
from zcc.compiler.toolchain.driver import WRAPPERS

LAUNCHER = Path(__file__).parents[3] / "zcc" / "launcher"
SAYS_WHO = '#!/bin/sh\necho "$(basename "$0") $*"\n'
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "zcc"
    sources = map(str, sorted(LAUNCHER.glob("*.c")))
    subprocess.run(["cc", "-O1", "-o", str(path), *sources, "-lrt"], check=True)
    shutil.copy(path, path.with_name("zcc++"))
    script(path.parent, "zcc-agent")
    return path


def script(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text(SAYS_WHO)
        (directory / name).chmod(0o755)


def heard(launcher: Path, tools: Path, *words: str, program: str = "zcc") -> str:
    """What program the launcher became, and with which words; ZCC_DISABLE spares the agent."""
    done = subprocess.run(
        [launcher.with_name(program), *words],
        cwd=tools,
        env={"PATH": f"{tools}:/usr/bin:/bin", "ZCC_DISABLE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return (done.stdout + done.stderr).strip()


def subcommands_of_the_launcher() -> set[str]:
    source = (LAUNCHER / "words.c").read_text()
    found = re.search(r"subcommands\[\] = \{(.*?)\};", source, re.DOTALL)
    assert found is not None
    return set(re.findall(r'"([^"]+)"', found[1]))


def test_explain_knows_each_ending_of_what_a_compiler_reads() -> None:
    source = (LAUNCHER / "words.c").read_text()
    found = re.search(r"file_endings\[\] = \{(.*?)\};", source, re.DOTALL)
    assert found is not None
    assert set(re.findall(r'"([^"]+)"', found[1])) == FILE_ENDINGS


def test_the_launcher_knows_each_subcommand_of_the_command_line() -> None:
    """A new one goes into `subcommands` of zcc/launcher/words.c too, or it is taken for a compiler."""
    assert subcommands_of_the_launcher() == set(main.words())


@pytest.mark.parametrize("program", ["zcc", "zcc++"])
def test_nothing_a_lone_help_and_subcommands_are_the_command_lines(
    launcher: Path, tmp_path: Path, program: str
) -> None:
    for words in ([], ["--help"], *([word, "--json"] for word in main.words())):
        expected = ["zcc-agent", "cli", *words]
        assert heard(launcher, tmp_path, *words, program=program).split() == expected


@pytest.mark.parametrize(
    "words",
    [
        "--version", "-v", "-V", "-h", "-dumpversion", "-dumpmachine", "-print-search-dirs", "--help=common",
        "--help -v", "-### -c x.c", "-E -dM -", "-", "@flags", "--target-help", "x.c", "sub/x.c", "x.o -o x",
        "--install-completion",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("program", "default"), [("zcc", "cc"), ("zcc++", "c++")])
def test_whatever_else_begins_with_a_dash_is_the_default_compilers(
    launcher: Path, tmp_path: Path, program: str, default: str, words: str
) -> None:
    script(tmp_path, "cc", "c++")
    expected = f"{default} {words}"
    assert heard(launcher, tmp_path, *words.split(), program=program) == expected


KINDS = [
    "gcc", "g++-12", "clang", "clang++-19.1", "aarch64-linux-gnu-gcc", "x86_64-w64-mingw32-g++-posix-gcc-12",
    "cc", "c89", "c99", "clang-cl-16", "afl-gcc", "nvcc", "tcc", "icpx", "mpicxx", "em++",
]  # fmt: skip


def test_a_compiler_that_is_known_by_its_name_is_run_even_alone(
    launcher: Path, tmp_path: Path
) -> None:
    wrappers = [each.decode() for each in WRAPPERS if not each.startswith(b"zcc")]
    for name in (*KINDS, *wrappers):
        script(tmp_path, name)
        assert heard(launcher, tmp_path, name) == name


def test_a_path_is_run_whatever_it_is_called(launcher: Path, tmp_path: Path) -> None:
    script(tmp_path, "stats")
    assert heard(launcher, tmp_path, "./stats", "--json") == "stats --json"


@pytest.mark.parametrize(
    "arguments",
    [
        "-c x.c",
        "x.c",
        "-v",
        "--version",
        "@flags",
        "--target=arm",
        "nice gcc",
        "-",
        "a.o b.a",
        "-E",
    ],
)
def test_a_wrapper_called_anything_is_run_before_what_looks_like_a_compile(
    launcher: Path, tmp_path: Path, arguments: str
) -> None:
    script(tmp_path, "our-tool")
    assert heard(launcher, tmp_path, "our-tool", *arguments.split()) == f"our-tool {arguments}"


@pytest.mark.parametrize("arguments", ["", "--json", "-h", "--help", "some words"])
def test_any_other_word_is_left_to_the_command_line(
    launcher: Path, tmp_path: Path, arguments: str
) -> None:
    script(tmp_path, "our-tool", "gcc-ar")
    for name in ("our-tool", "gcc-ar", "gcc-12-ranlib", "missing"):
        expected = ["zcc-agent", "cli", name, *arguments.split()]
        assert heard(launcher, tmp_path, name, *arguments.split()).split() == expected


@pytest.mark.parametrize(
    "word", ["stat", "node", "status", "jion", "explan", "cach", "who", "hlep"]
)
@pytest.mark.parametrize("arguments", ["", "--version", "-c x.c", "gcc -c x.c"])
def test_a_slip_runs_nothing_whatever_stands_behind_it(
    launcher: Path, tmp_path: Path, word: str, arguments: str
) -> None:
    script(tmp_path, word)
    expected = ["zcc-agent", "cli", word, *arguments.split()]
    assert heard(launcher, tmp_path, word, *arguments.split()).split() == expected


def test_python_does_not_change_the_locale_of_what_a_subcommand_runs(
    launcher: Path, tmp_path: Path
) -> None:
    """In the C locale it sets LC_CTYPE (PEP 538): `zcc up -- make` would get other messages."""
    agent = tmp_path / "zcc-agent"
    agent.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from zcc.cli import main\nfrom zcc.entrance import main as enter\nimport os\n"
        "main.main = lambda words: print(words, sorted(os.environ))\nenter()\n"
    )
    agent.chmod(0o755)
    shutil.copy(launcher, tmp_path / "zcc")
    done = subprocess.run(
        [tmp_path / "zcc", "nodes"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "['nodes'] ['LC_ALL', 'PATH']\n", done.stderr


def test_a_compiler_that_is_missing_ends_as_in_a_shell(launcher: Path, tmp_path: Path) -> None:
    for words in (["gcc-98"], ["our-tool", "-c", "x.c"], ["./gcc"]):
        assert heard(launcher, tmp_path, *words) == f"zcc: {words[0]}: command not found"


@pytest.mark.parametrize(
    ("word", "said"),
    [("stat", "did you mean: zcc stats?"), ("zzz", "zcc --help lists the subcommands")],
)
def test_the_command_line_suggests_what_was_meant_and_runs_nothing(word: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zcc.entrance", "cli", word, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"zcc: {word!r} is no subcommand" in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_programs_that_nobody_calls_by_hand_have_a_help(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zcc.entrance", option],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "zcc agent start|stop|status" in done.stdout
