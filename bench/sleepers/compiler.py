"""A gcc whose `cc1` sleeps for as long as its source says, and whose `as` writes an object of a given size.

    PREFIX/bin/gcc                    a copy of the real driver, which looks for its programs beside itself
    PREFIX/lib/gcc/MACHINE/N/cc1, as  ours: one small C program

A source says `#pragma bench_sleep_us 500000`, which preprocessing leaves alone. What is no compile of such a
source (`-E`, questions) goes to the real `cc1` and `as`, and the driver answers -dumpmachine, --version and
-print-* itself.

How fast a node is, cc1 reads from the soft limit RLIMIT_MSGQUEUE in thousandths: it is inherited through
sandboxes and chroots of all farms, and can be changed while the node runs (`set_speed`).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

OBJECT_BYTES = 100_000
HEADER_BYTES = 290_000
SOURCE_BYTES = 10_000
FULL_SPEED = 1000

_PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int ends_with(const char *word, const char *end)
{
    size_t length = strlen(word), most = strlen(end);
    return length > most && strcmp(word + length - most, end) == 0;
}

static void go_to_the_real_one(char **argv, const char *path)
{
    execv(path, argv);
    perror(path);
    exit(127);
}

static char *read_all(const char *path, size_t *length)
{
    int file = strcmp(path, "-") ? open(path, O_RDONLY) : 0;
    size_t room = 1 << 20, got = 0;
    char *text = malloc(room + 1);
    ssize_t count;
    if (file < 0)
        return NULL;
    while ((count = read(file, text + got, room - got)) > 0)
        if ((got += (size_t)count) == room)
            text = realloc(text, (room *= 2) + 1);
    text[got] = 0;
    *length = got;
    return text;
}

static double speed(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MSGQUEUE, &limit) || limit.rlim_cur == 0 || limit.rlim_cur > FULL_SPEED)
        return 1.0;
    return (double)limit.rlim_cur / FULL_SPEED;
}

static int compile(char **argv, const char *input, const char *output)
{
    size_t length;
    char *text = read_all(input, &length), *said;
    FILE *file;
    unsigned hash = 2166136261u;
    said = text ? strstr(text, "#pragma bench_sleep_us ") : NULL;
    if (!said && access(REAL_CC1, X_OK) == 0)
        go_to_the_real_one(argv, REAL_CC1);
    /* Where only this one is, it compiles whatever it is tried with. */
    double left_s = said ? atof(said + strlen("#pragma bench_sleep_us ")) / 1e6 / speed() : 0.0;
    struct timespec pause = {(time_t)left_s, (long)((left_s - (double)(time_t)left_s) * 1e9)};
    nanosleep(&pause, NULL);
    for (; said && *said && *said != '\n'; said++)
        hash = (hash ^ (unsigned char)*said) * 16777619u;
    if (!(file = fopen(output, "w")))
        return 1;
    fprintf(file, "bench %u\n", hash);
    return fclose(file) != 0;
}

static int assemble(char **argv, const char *input, const char *output)
{
    static unsigned words[OBJECT_BYTES / 4];
    size_t length, count = sizeof words / sizeof *words;
    char *text = read_all(input, &length);
    FILE *file;
    if (!text || strncmp(text, "bench ", 6) != 0)
        go_to_the_real_one(argv, REAL_AS);
    unsigned state = (unsigned)strtoul(text + 6, NULL, 10) | 1;
    for (size_t at = 0; at < count; at++) {
        state ^= state << 13, state ^= state >> 17, state ^= state << 5;
        words[at] = state & 0x0f0f0f0f; /* compresses by half, as objects do */
    }
    if (!(file = fopen(output, "wb")))
        return 1;
    fwrite(words, 4, count, file);
    return fclose(file) != 0;
}

int main(int argc, char **argv)
{
    const char *input = NULL, *output = NULL;
    const char *slash = strrchr(argv[0], '/');
    int is_as = strcmp(slash ? slash + 1 : argv[0], "as") == 0, preprocesses = 0;
    for (int at = 1; at < argc; at++) {
        const char *before = argv[at - 1], *word = argv[at];
        if (strcmp(before, "-o") == 0)
            output = word;
        else if (strcmp(word, "-E") == 0)
            preprocesses = 1;
        else if (strncmp(before, "-dump", 5) != 0 && strncmp(before, "-aux", 4) != 0
                 && (ends_with(word, ".c") || ends_with(word, ".i") || ends_with(word, ".s")
                     || strcmp(word, "-") == 0))
            input = word;
    }
    if (!input || !output || preprocesses)
        go_to_the_real_one(argv, is_as ? REAL_AS : REAL_CC1);
    return is_as ? assemble(argv, input, output) : compile(argv, input, output);
}
"""


def make_compiler(prefix: Path) -> Path:
    """Compile and lay out; the path of the driver. Needs a gcc that can be moved, as Debian's."""
    real = _asked("gcc", "-print-prog-name=cc1")
    place = prefix / "lib" / "gcc" / _asked("gcc", "-dumpmachine") / _asked("gcc", "-dumpversion")
    place.mkdir(parents=True)
    driver = prefix / "bin" / "gcc"
    driver.parent.mkdir()
    shutil.copy(os.path.realpath(shutil.which("gcc") or "gcc"), driver)
    shutil.copy(driver, driver.with_name("g++"))  # icecc packs no toolchain without one
    source = prefix / "program.c"
    source.write_text(_PROGRAM)
    named = {"REAL_CC1": f'"{_whole(real)}"', "REAL_AS": f'"{shutil.which("as")}"'}
    named |= {"OBJECT_BYTES": str(OBJECT_BYTES), "FULL_SPEED": str(FULL_SPEED)}
    words = [f"-D{name}={value}" for name, value in named.items()]
    subprocess.run(["gcc", "-O1", *words, str(source), "-o", str(place / "cc1")], check=True)
    shutil.copy(place / "cc1", place / "as")
    found = _asked(str(driver), "-print-prog-name=cc1")
    assert os.path.samefile(found, place / "cc1"), f"this gcc cannot be moved: it found {found}"
    return driver


def _whole(program: str) -> str:
    """Debian's driver prints some programs by name: those that are nowhere special."""
    if os.path.isabs(program):
        return program
    told = subprocess.run(
        ["gcc", "-###", "-x", "c", "-c", "/dev/null"], capture_output=True, check=True, text=True
    )
    return next(word for word in told.stderr.split() if word.endswith("/cc1"))


def _asked(compiler: str, question: str) -> str:
    done = subprocess.run([compiler, question], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def set_speed(pid: int, speed: float) -> None:
    """What this process and all below it start from now on takes 1/speed times as long."""
    soft = max(1, round(FULL_SPEED * speed))
    for each in (pid, *descendants(pid)):
        try:
            _, hard = resource.prlimit(each, resource.RLIMIT_MSGQUEUE)
            resource.prlimit(each, resource.RLIMIT_MSGQUEUE, (soft, hard))
        except ProcessLookupError:
            continue
        except PermissionError:
            _set_as_its_user(each, soft)


def _set_as_its_user(pid: int, soft: int) -> None:
    """Root without CAP_SYS_RESOURCE, as in containers, may only do that for its own processes. What runs in a
    sandbox has begun already, and is left as it is."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return
    ids = {line.split()[0]: int(line.split()[1]) for line in status if line[:4] in ("Uid:", "Gid:")}
    command = ["prlimit", "--pid", str(pid), f"--msgqueue={soft}:"]
    user, group = ids["Uid:"], ids["Gid:"]
    subprocess.run(
        command, user=user, group=group, extra_groups=[], capture_output=True, check=False
    )


def descendants(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


class Project:
    """Sources of given times, one header and a Makefile; `edit` makes each compile a new one."""

    def __init__(self, directory: Path, sleeps_s: list[float]) -> None:
        self.directory, self.sleeps_s = directory, sleeps_s
        self._round = 0
        directory.mkdir()
        line = "extern int declared_{0:06d}(const char *name, unsigned long length);\n"
        count = HEADER_BYTES // len(line.format(0))
        header = "".join(map(line.format, range(count)))
        (directory / "all.h").write_text(header)
        names = " ".join(f"out/f{number}.o" for number in range(len(sleeps_s)))
        (directory / "Makefile").write_text(
            f"all: {names}\nout/%.o: %.c\n\t$(CC) -O2 -c $< -o $@\n"
        )
        self.edit()

    def edit(self) -> None:
        """Sources that nobody has compiled, and no objects."""
        self._round += 1
        out = self.directory / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        filler = "".join(f"int v{number} = {number};\n" for number in range(SOURCE_BYTES // 18))
        for number, sleep_s in enumerate(self.sleeps_s):
            text = f"#pragma bench_sleep_us {round(1e6 * sleep_s)} {number} {self._round}\n"
            text = f'#include "all.h"\n{text}{filler}int round_{self._round};\n'
            (self.directory / f"f{number}.c").write_text(text)

    def missing(self) -> list[str]:
        """Objects that are not there, or not what the compiler writes."""
        out = self.directory / "out"
        wanted = [out / f"f{number}.o" for number in range(len(self.sleeps_s))]
        return [
            path.name
            for path in wanted
            if not path.exists() or path.stat().st_size != OBJECT_BYTES // 4 * 4
        ]
