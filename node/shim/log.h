/* The log: one shared mapping of a file (LOG_PATH) that the node made, so that vfork, exec, _exit and crashes lose
 * nothing. Its format, read by node/sandbox/proof.py:
 *
 *     u64 end      offset behind the last record; grows by atomic addition, beyond the file when full
 *     u64 flaws    not 0: something could not be logged (log full, path too long, unknown directory)
 *     records      KIND, path bytes, NUL; the kind is stored last, so 0 is a record never finished
 *
 * Every path is absolute: relative ones are joined with the process's cwd, unchanged otherwise.
 *
 *     S  a process started; the path is its program (physical)
 *     X  a program is about to be executed (physical path, or as given when it does not exist)
 *     H  the path was found                 D  the directory was opened for listing
 *     M  ENOENT, ENOTDIR or ENAMETOOLONG    W  opened for writing, or created
 *     R  as M, by an open for reading: no question about what is to be written there
 *     E  the look-up failed otherwise: one byte of errno stands before the path
 *     N  a slash and the name of a variable that was asked for
 *     V  the same, once a plugin had been loaded
 *     T  a slash and the name of a function that was asked what the local time is
 *     F  a slash and what was done whose look-ups leave no record (a function, or a system call by its number)
 */
#pragma once

#include "libc.h"

#ifndef LOG_PATH
#define LOG_PATH "/.zcc/log"
#endif

enum { HEADER_BYTES = 16, PATH_BYTES = 4096, JOINED_BYTES = 2 * PATH_BYTES };

/* Maps the file; its success. */
int open_log(void);

/* Whether this process writes to a log at all. */
int is_logging(void);

void mark_flawed(void);

/* An F record; `name` begins with a slash. */
void note_unseen(const char *name);

/* One record of `path`, absolute. */
void put(char kind, int code, const char *path, size_t length);

/* As put, of what this process has not logged before. */
void put_once(char kind, int code, const char *path, size_t length);

/* Logs the outcome of a look-up: code is 0 or errno. Keeps errno. Of the kinds that may be found, R is H. */
void note(char kind, int fd, const char *path, int code);
void note_int(char kind, int fd, const char *path, int result);

/* 0, or errno where the call has failed. */
int outcome(int failed);

/* Of a call with two paths: its outcome says neither which is missing, so that each is looked up after a failure. */
void note_pair(int from_at, const char *from, int to_at, const char *to, int result);

/* Writes "/proc/self/fd/N", and a NUL; its length. */
size_t spell_descriptor(char *to, int fd);
enum { DESCRIPTOR_BYTES = 32 };

/* What relative paths are joined with is asked of the kernel before the directory changes, and anew after. */
void remember_directory(void);
void forget_directory(void);
