/* The files of a result: they appear by rename, or by what the compiler would do, and nothing stays behind. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct output {
    char *path;           /* as the command has it: a relative one is the working directory's */
    const char *name;     /* its last component */
    char *temporary;      /* a name in `directory` */
    int directory;        /* where it goes, held open: what is begun and what it becomes are in one place */
    uint64_t size;
    mode_t mode;
    int is_into; /* its content goes into the file that is there */
    int into;
};

/* Reads a RESULT of `length` bytes, places its files, says its messages, and exits as it says. */
_Noreturn void place_result(int agent, uint32_t length);

/* Removes what has been begun, then falls back. */
_Noreturn void abandon_result(const char *reason);
