/* The watch for system calls that libc's functions do not make (calls.c), and what the kernel gives its handler. */
#pragma once

#include "libc.h"

typedef struct {
    int signal, error, code;
    void *at;
    int number;
    u32 architecture;
} SignalInfo;

typedef struct {
    u64 flags;
    void *next;
    u64 stack[3];
    i64 registers[23];
} SignalContext;

typedef struct {
    void (*handler)(int, SignalInfo *, SignalContext *);
    u64 mask[SIGNAL_MASK_WORDS];
    int flags;
    void (*restorer)(void);
} SignalAction;

EXPORT int sigprocmask(int, const u64 *, u64 *);
EXPORT int sigaction(int, const SignalAction *, SignalAction *);
extern int prctl(int, ...);
extern int kill(int, int);

/* Begins with the calling thread, where the kernel can. */
void watch_calls(void);
int is_watching(void);

/* As a new thread, or a process after fork, has to ask for it anew. */
void watch_thread(void);
