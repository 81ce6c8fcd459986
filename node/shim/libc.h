/* What is used of libc without being shadowed here, and its types. Unversioned references that every libc has. */
#pragma once

#include "numbers.h"

typedef unsigned long size_t;
typedef long ssize_t;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#define EXPORT __attribute__((visibility("default")))
#define WEAK __attribute__((weak))
#define NULL ((void *)0)

extern int *__errno_location(void) WEAK;
extern char **environ WEAK;
extern void *mmap(void *, size_t, int, int, int, long);
extern int close(int);
extern long lseek(int, long, int);
extern int getpid(void);
extern void *malloc(size_t);
extern void free(void *);
