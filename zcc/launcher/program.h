/* Which program a name means: the one on PATH behind zcc. */
#pragma once

/* Learns what zcc itself is: before anything below. */
void learn_self(void);

/* Absolute path of the program that `name` means, malloc'ed; NULL: there is none. */
char *find_program(const char *name);

/* Whether whoever looks `name` up finds zcc, and not what find_program finds. */
int leads_to_self(const char *name);

/* Whether whoever looks the plain `name` up on PATH finds another program than `path`. */
int leads_elsewhere(const char *name, const char *path);

/* `path` made absolute, nothing resolved; malloc'ed, or NULL. */
char *absolute(const char *path);

const char *basename_of(const char *path);

/* Becomes one of zcc's own programs: the one installed with this launcher, else the one on PATH.
 * Comes back if there is none. */
void exec_own(const char *name, char **argv);
