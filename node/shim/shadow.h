/* The forms that most shadowed functions have. `path` is the parameter that is looked up. */
#pragma once

#include "log.h"
#include "symbols.h"

/* The kind of record of an open with these flags. */
char kind_of_open(int flags);

/* Of a function that answers less than 0 when it fails. */
#define LOOK_UP(kind, at, type, name, parameters, arguments) \
    EXPORT type name parameters \
    { \
        type result = REAL(name) arguments; \
        note(kind, at, path, outcome(result < 0)); \
        return result; \
    }

/* Of one that answers NULL when it fails. */
#define LOOK_UP_POINTER(kind, name, parameters, arguments) \
    EXPORT void *name parameters \
    { \
        void *result = REAL_POINTER(name) arguments; \
        note(kind, FD_CWD, path, outcome(!result)); \
        return result; \
    }

/* Of one whose look-ups nobody can see from here. As many words are passed on as any of them takes: the callers of
 * those with fewer do not miss what lies beyond. */
#define UNSEEN_OR(absent, type, name) \
    EXPORT type name(long a, long b, long c, long d, long e, long f, long g, long h) \
    { \
        note_unseen("/" #name); \
        return REAL_OR(absent, name)(a, b, c, d, e, f, g, h); \
    }
#define UNSEEN(name) UNSEEN_OR(fail_absent, long, name)
#define UNSEEN_POINTER(name) UNSEEN_OR(find_nothing, void *, name)
