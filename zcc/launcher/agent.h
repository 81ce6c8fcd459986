/* Reaching the user's agent: where it listens, and whether it is to be trusted. */
#pragma once

#include <limits.h>

struct place { /* of the agent's socket */
    char path[PATH_MAX];
    const char *name;     /* the part of path in directory */
    int directory;
    char stem[NAME_MAX];  /* name without .sock: the lock and the failure mark are named after it */
};

/* Opens the directory where the agent listens; else says why it cannot be used. */
const char *find_place(struct place *place);

/* The connection to the agent, which is started if there is none; or falls back. */
int reach_agent(void);

/* Connects to the agent, if one of this user's listens there; else -1 and errno. */
int connect_agent(const struct place *place, long patience_ms);

/* Descriptors stay off 0-2: if the caller closed one of those, the compiler must find it closed. */
int lift(int fd);

/* Moves `fd` to where a compiler inherits it and no shell script uses it by number; where that is. */
int keep_for_compiler(int fd);
