/* What the first word behind `zcc` means, told by the words alone: no file is looked at. */
#pragma once

enum meaning {
    FOR_ZCC,     /* nothing, --help, or a subcommand; also a word that is none and no compiler */
    FOR_DEFAULT, /* an option, a response file, a file for compilers: the default compiler's */
    COMPILER,    /* the compiler's own name or path */
};

/* `words`: what stands behind `zcc`, up to NULL. */
enum meaning meaning_of(char **words);
