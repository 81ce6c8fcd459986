/* The rule, in this order:
 *
 *   nothing, or --help alone      the command line: people type that, build systems do not
 *   -x, @x, x.c                   the default compiler: build systems ask it who it is (-v, --version, -dumpversion)
 *   a subcommand                  the command line
 *   a/path, or a kind of compiler that is known by its name (gcc-12, aarch64-linux-gnu-g++, ccache): run
 *   one letter off a subcommand   a slip (`zcc stat`), whatever stands behind it: the command line says so
 *   any word before what looks like a compile (`zcc mycc -c x.c`, `zcc nice gcc x.c`): run
 *   any other word                a slip: the command line says so
 *
 * A compiler with the name of a subcommand, or of nearly one, is called by its path.
 */
#define _GNU_SOURCE
#include "words.h"

#include <ctype.h>
#include <string.h>

#include "program.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LEAST_LETTERS 3 /* of a subcommand that can be misspelt: `cp` and `ip` are near `up`, and no slips */

/* In columns a list would be laid out anew with each longer word. */
/* clang-format off */
/* tests/unit/cli/test_words.py holds them against the command line's own. */
static const char *const subcommands[] = {
    "agent", "cache", "completion", "config", "doctor", "events", "explain", "farms", "help", "join",
    "leave", "masquerade", "monitor", "nodes", "publish", "report", "slots", "stats", "toolchain", "top",
    "trace", "up", "version", "watch", "why", "why-node",
};

/* What a compiler reads, so a first word with such an ending is no compiler. */
static const char *const file_endings[] = {
    "c", "cc", "cp", "cpp", "cxx", "c++", "C", "CC", "CPP", "h", "hh", "hpp", "hxx", "H", "m", "mm",
    "M", "i", "ii", "mi", "mii", "s", "S", "sx", "o", "a", "so",
};

/* Compilers and what stands in front of them, without what may surround the name: TARGET-gcc-12. */
static const char *const kinds[] = {
    "cc", "c++", "gcc", "g++", "clang", "clang++", "cpp", "c89", "c99", "clang-cl", "clang-cpp",
    "gfortran", "gdc", "tcc", "icc", "icpc", "icx", "icpx", "dpcpp", "armclang", "nvcc", "nvc", "nvc++",
    "hipcc", "emcc", "em++", "mpicc", "mpicxx", "mpic++", "ccache", "sccache", "distcc", "icecc", "icerun",
    "buildcache", "fastbuild",
};
/* clang-format on */

/* Options of two dashes that compilers are asked; zcc's subcommands have none of these. */
static const char *const long_options[] = {
    "--version", "--target", "--sysroot", "--param", "--print", "--std", "--driver-mode",
};

static int is_one_of(const char *word, size_t length, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(words[i]) == length && memcmp(word, words[i], length) == 0)
            return 1;
    return 0;
}

static int is_file_for_a_compiler(const char *word)
{
    const char *dot = strrchr(basename_of(word), '.');
    return dot && is_one_of(dot + 1, strlen(dot + 1), file_endings, COUNT(file_endings));
}

static int is_kind_of_compiler(const char *word)
{
    size_t length = strlen(word), whole = length;
    while (length > 0 && (isdigit((unsigned char)word[length - 1]) || word[length - 1] == '.'))
        length--;
    if (length < whole && length > 0 && word[length - 1] == '-')
        length--; /* gcc-12 */
    else
        length = whole; /* c99 */
    const char *end = word + length;
    for (const char *name = word; name < end; name++) { /* each part behind a dash, to the end */
        if (is_one_of(name, (size_t)(end - name), kinds, COUNT(kinds)))
            return 1;
        name = memchr(name, '-', (size_t)(end - name));
        if (!name)
            break;
    }
    return 0;
}

/* One letter too many, too few or another, or two that changed places. */
static int is_nearly(const char *word, const char *other)
{
    size_t length = strlen(word), other_length = strlen(other), same = 0, tail = 0;
    while (word[same] && word[same] == other[same])
        same++;
    while (tail < length - same && tail < other_length - same &&
           word[length - tail - 1] == other[other_length - tail - 1])
        tail++;
    size_t rest = length - same - tail, other_rest = other_length - same - tail;
    return (rest <= 1 && other_rest <= 1) ||
           (rest == 2 && other_rest == 2 && word[same] == other[same + 1] && word[same + 1] == other[same]);
}

static int is_slip(const char *word)
{
    for (size_t i = 0; i < COUNT(subcommands); i++)
        if (strlen(subcommands[i]) >= LEAST_LETTERS && is_nearly(word, subcommands[i]))
            return 1;
    return 0;
}

static int is_long_option(const char *word)
{
    return is_one_of(word, strcspn(word, "="), long_options, COUNT(long_options)) ||
           strncmp(word, "--print-", strlen("--print-")) == 0;
}

/* Whether anything in these words is what compilers are given, and zcc's subcommands are not. */
static int looks_like_a_compile(char **words)
{
    for (; *words; words++) {
        const char *word = *words;
        int is_short = word[0] == '-' && word[1] != '-' && strcmp(word, "-h") != 0;
        if (is_short || word[0] == '@' || is_long_option(word) || is_file_for_a_compiler(word) ||
            (word[0] != '-' && is_kind_of_compiler(basename_of(word))))
            return 1;
    }
    return 0;
}

enum meaning meaning_of(char **words)
{
    const char *word = words[0];
    if (!word || (strcmp(word, "--help") == 0 && !words[1]))
        return FOR_ZCC;
    if (*word == '-' || *word == '@' || is_file_for_a_compiler(word))
        return FOR_DEFAULT;
    if (is_one_of(word, strlen(word), subcommands, COUNT(subcommands)))
        return FOR_ZCC;
    if (strchr(word, '/') || is_kind_of_compiler(word))
        return COMPILER;
    return !is_slip(word) && looks_like_a_compile(words + 1) ? COMPILER : FOR_ZCC;
}
