/* The call: what the user asked for, and the ways out that lead to the compiler itself. */
#pragma once

enum { STDERR_IS_TERMINAL = 1, STDIN_IS_TERMINAL = 2, IS_CXX = 4, IS_DEFAULT = 8, IS_NAMED = 16 };

struct call {
    char **argv;       /* the compiler's own; [0] is set before exec */
    const char *named; /* the compiler as the user wrote it; empty: the default */
    char *executable;  /* absolute path of what `named` or the default means; NULL: none */
    unsigned flags;    /* of the request */
};

extern struct call call;

const char *default_compiler(void);

/* Sets IS_NAMED where ccache has called, and will keep what this leaves under the name that it has for it. */
void learn_caller(void);

/* Leaves no object and exits 0, by which ccache forgets this run and does the command again, uncached. Comes
 * back where that cannot be done. */
void withdraw(void);

/* Says it when ZCC_FALLBACK is none of its words: whoever sets it wants to be told of a fallback. */
void check_policy(void);

/* Becomes the compiler at `path`, called `name`; under ZCC_FALLBACK=forbid an error. */
_Noreturn void exec_compiler(const char *path, const char *name);

/* Becomes the compiler that was asked for. */
_Noreturn void run_locally(void);

/* The same under a local slot, or an error with the reason under ZCC_FALLBACK=never or forbid. After more than a
 * moment withdraws what ccache has named: which files it had read nobody here can tell. */
_Noreturn void fall_back(const char *reason);
