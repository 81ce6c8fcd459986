/* Logs every path that a compiler looks up; preloaded into each of its processes in a sandbox.
 *
 * The log is one shared mapping of a file (LOG_PATH) that the node made, so that vfork, exec, _exit and
 * crashes lose nothing. Its format, read by node/proof.py:
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
 *     M  ENOENT or ENOTDIR                  W  opened for writing, or created
 *     R  as M, by an open for reading: no question about what is to be written there
 *     E  the look-up failed otherwise: one byte of errno stands before the path
 *     V  a slash and the name of a variable that was asked for, once a plugin had been loaded
 *     T  a slash and the name of a function that was asked what the local time is
 *
 * No libc is linked and none is needed to build: the few symbols used are unversioned references that
 * every libc has, so one build works under an old or new glibc, or musl, of this architecture. The
 * functions shadowed here are called through addresses found in the symbol tables of the libraries
 * loaded behind this one; dlsym would need libdl before glibc 2.34. What libc does inside itself
 * (locale, iconv, the loader) is not seen; these files belong to the toolchain. Only a library that a
 * program loads by dlopen shows, with all that came with it: the client has worked out which it loads.
 *
 * Also: bubblewrap sets PWD to the physical cwd, and gcc writes PWD into DWARF. The variable ZCC_PWD
 * holds the job's own PWD (empty: none) and takes PWD's place before main.
 */

typedef unsigned long size_t;
typedef long ssize_t;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#ifndef LOG_PATH
#define LOG_PATH "/.zcc/log"
#endif
#define EXPORT __attribute__((visibility("default")))
#define WEAK __attribute__((weak))
#define NULL ((void *)0)

enum { HEADER_BYTES = 16, PATH_BYTES = 4096, JOINED_BYTES = 2 * PATH_BYTES, SEEN_SLOTS = 8192 };

/* The same on x86-64 and aarch64, glibc and musl, except where noted. */
enum {
    FD_CWD = -100, O_WRONLY_ = 1, O_RDWR_ = 2, O_ACCMODE_ = 3, O_CREAT_ = 0100, O_TRUNC_ = 01000,
    O_CLOEXEC_ = 02000000, O_TMPFILE_ = 020000000,
#ifdef __aarch64__
    O_DIRECTORY_ = 040000,
#else
    O_DIRECTORY_ = 0200000,
#endif
    NOENT = 2, ACCES = 13, EXIST = 17, NOTDIR = 20, ISDIR = 21, INVAL = 22, NOSYS = 38,
};

/* What is used of libc without being shadowed here. */
extern int *__errno_location(void) WEAK;
extern char **environ WEAK;
extern void *mmap(void *, size_t, int, int, int, long);
extern int close(int);
extern long lseek(int, long, int);
extern char *getcwd(char *, size_t);
extern int getpid(void);
extern void free(void *);

/* ---- the shadowed functions' own addresses ---------------------------------------------------- */

typedef struct { u32 type, flags; u64 offset, vaddr, paddr, filesz, memsz, align; } Segment;
typedef struct { u64 tag, value; } Dynamic;
typedef struct { u32 name; u8 info, other; u16 section; u64 value, size; } Symbol;
typedef struct { u64 base; const char *name; const Segment *segments; u16 count; } Library;
extern int dl_iterate_phdr(int (*)(Library *, size_t, void *), void *);
extern const Dynamic _DYNAMIC[] __attribute__((visibility("hidden")));

typedef struct { const char *name; void *found; int is_behind_us; } Search;

static int is_equal(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static size_t length_of(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

static int is_under(const char *path, const char *top, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (path[i] != top[i]) return 0;
    return path[length] == 0 || path[length] == '/';
}

static int is_same(const char *path, const char *other) {
    return length_of(path) == length_of(other) && is_under(path, other, length_of(other));
}

static void copy(char *to, const char *from, size_t size) {
    while (size--) *to++ = *from++;
}

/* glibc relocates the pointers of a dynamic section in place, musl and the vdso do not. */
static const void *pointer_in(const Library *library, u64 value) {
    return (const void *)(value < library->base ? value + library->base : value);
}

static int is_wanted(const Symbol *symbol, const char *strings, const char *name) {
    int type = symbol->info & 15;
    return symbol->section && (type == 2 || type == 10) && is_equal(strings + symbol->name, name);
}

typedef struct {
    const Symbol *symbols;
    const char *strings;
    const u16 *versions;
    const u32 *gnu, *sysv;
} Tables;

/* The symbol of this name at an index, the default version before hidden ones. */
static const Symbol *better(const Tables *t, u32 at, const char *name, const Symbol *best) {
    if (!is_wanted(t->symbols + at, t->strings, name)) return best;
    return !best || !t->versions || !(t->versions[at] & 0x8000) ? t->symbols + at : best;
}

static const Symbol *find_gnu(const Tables *t, const char *name) {
    u32 hash = 5381, buckets = t->gnu[0], first = t->gnu[1];
    const u32 *bucket = t->gnu + 4 + 2 * t->gnu[2], *chain = bucket + buckets;
    const Symbol *best = NULL;
    if (!buckets) return NULL;
    for (const char *c = name; *c; c++) hash = hash * 33 + (u8)*c;
    u32 at = bucket[hash % buckets];
    if (at < first) return NULL;
    for (;; at++) {
        if ((chain[at - first] | 1) == (hash | 1)) best = better(t, at, name, best);
        if (chain[at - first] & 1) return best;
    }
}

static const Symbol *find_sysv(const Tables *t, const char *name) {
    const Symbol *best = NULL;
    for (u32 at = 1; at < t->sysv[1]; at++) best = better(t, at, name, best);
    return best;
}

static int look_in(Library *library, size_t size, void *state) {
    Search *search = state;
    const Dynamic *dynamic = NULL;
    Tables t = {0};
    (void)size;
    for (u16 i = 0; i < library->count; i++)
        if (library->segments[i].type == 2)
            dynamic = (const Dynamic *)(library->base + library->segments[i].vaddr);
    if (dynamic == _DYNAMIC) search->is_behind_us = 1;
    if (!dynamic || dynamic == _DYNAMIC || !search->is_behind_us) return 0;
    for (; dynamic->tag; dynamic++) {
        const void *pointer = pointer_in(library, dynamic->value);
        if (dynamic->tag == 4) t.sysv = pointer;
        if (dynamic->tag == 5) t.strings = pointer;
        if (dynamic->tag == 6) t.symbols = pointer;
        if (dynamic->tag == 0x6ffffef5) t.gnu = pointer;
        if (dynamic->tag == 0x6ffffff0) t.versions = pointer;
    }
    if (!t.symbols || !t.strings) return 0;
    const Symbol *found = t.gnu ? find_gnu(&t, search->name) : t.sysv ? find_sysv(&t, search->name) : NULL;
    if (!found) return 0;
    search->found = (void *)(library->base + found->value);
    if ((found->info & 15) == 10) search->found = ((void *(*)(void))search->found)();
    return 1;
}

static void *next_symbol(const char *name) {
    Search search = {name, NULL, 0};
    dl_iterate_phdr(look_in, &search);
    return search.found;
}

/* REAL(stat)(path, buffer): the function that would be called were this library not there. */
#define REAL(name)                                                                                  \
    ({                                                                                              \
        static __typeof__(&name) real_##name;                                                       \
        if (!real_##name) real_##name = (__typeof__(&name))next_symbol(#name);                      \
        real_##name;                                                                                \
    })

EXPORT int open(const char *, int, ...);
EXPORT ssize_t readlink(const char *, char *, size_t);
EXPORT char *realpath(const char *, char *);

/* ---- the log ---------------------------------------------------------------------------------- */

static char *log_at;
static u64 log_size;
/* Hashes of the look-ups that this process has logged: clang stats a directory some hundred times. */
static u64 seen[SEEN_SLOTS];
static char cwd[PATH_BYTES];
static size_t cwd_length;
static int cwd_pid;

static u64 add(u64 *counter, u64 amount) {
#ifdef __aarch64__
    /* The builtin would call libgcc's outline atomics, which are not there. */
    u64 old, sum;
    u32 failed;
    __asm__ volatile("1: ldxr %0, [%3]\n add %1, %0, %4\n stxr %w2, %1, [%3]\n cbnz %w2, 1b"
                     : "=&r"(old), "=&r"(sum), "=&r"(failed)
                     : "r"(counter), "r"(amount)
                     : "memory");
    return old;
#else
    return __atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
#endif
}

static void mark_flawed(void) {
    if (log_at) add((u64 *)(log_at + 8), 1);
}

static int is_repeated(char kind, const char *path, size_t length) {
    u64 hash = 14695981039346656037ul ^ (u8)kind;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (u8)path[i]) * 1099511628211ul;
    u64 *slot = seen + (hash >> 13) % SEEN_SLOTS;
    if (*slot == hash) return 1;
    *slot = hash;
    return 0;
}

/* One record of `path`, absolute. */
static void put(char kind, int code, const char *path, size_t length) {
    size_t size = 1 + (code != 0) + length + 1;
    u64 at = add((u64 *)log_at, size);
    if (at + size > log_size) {
        mark_flawed();
        return;
    }
    char *record = log_at + at, *to = record + 1;
    if (code) *to++ = (char)code;
    copy(to, path, length);
    __atomic_store_n(record, kind, __ATOMIC_RELEASE);
}

/* What is the sandbox's own, and what compilers ask the system of themselves: clang its own name and those of its
 * descriptors, any of them whether PWD (Bazel's is /proc/self/cwd) is where they are. All else below /proc, /sys
 * and /dev is logged: a source that names it (`__has_include("/dev/kvm")`) would get another answer here. */
static int is_ours(const char *path, int is_opened) {
    static const char *const ours[] = {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/proc/cpuinfo"};
    static const char *const named[] = {
        "/proc", "/proc/self", "/proc/self/exe", "/proc/self/fd", "/proc/self/cwd", "/dev",
    };
    static const char descriptor[] = "/proc/self/fd/";
    if (path[0] != '/' || (path[1] != '.' && path[1] != 'p' && path[1] != 'd')) return 0;
    if (is_under(path, "/.zcc/tmp", 9)) return 1;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (is_same(path, ours[i])) return 1;
    for (size_t i = 0; !is_opened && i < sizeof named / sizeof *named; i++)
        if (is_same(path, named[i])) return 1;
    if (is_opened || !is_under(path, descriptor, sizeof descriptor - 2)) return 0;
    for (path += sizeof descriptor - 1; *path >= '0' && *path <= '9'; path++) continue;
    return !*path;
}

/* The directory that relative paths start from; its length, 0 if unknown. A vforked child shares this
 * memory, hence the owner. */
static size_t start_directory(int fd, const char **at, char *buffer) {
    if (fd != FD_CWD) {
        char name[32] = "/proc/self/fd/", digits[12];
        size_t end = 14, count = 0;
        if (fd < 0) return 0;
        do digits[count++] = (char)('0' + fd % 10); while (fd /= 10);
        while (count) name[end++] = digits[--count];
        name[end] = 0;
        ssize_t got = REAL(readlink)(name, buffer, PATH_BYTES);
        *at = buffer;
        return got > 0 && got < PATH_BYTES && buffer[0] == '/' ? (size_t)got : 0;
    }
    int pid = getpid();
    if (cwd_pid != pid) {
        if (!getcwd(cwd, sizeof cwd)) return 0;
        cwd_length = length_of(cwd);
        cwd_pid = pid;
    }
    *at = cwd;
    return cwd_length;
}

/* Logs the outcome of a look-up: code is 0 or errno. Keeps errno. Of the kinds that may be found, R is H. */
static void note(char kind, int fd, const char *path, int code) {
    char joined[JOINED_BYTES], linked[PATH_BYTES];
    const char *start = NULL;
    int is_opened = kind == 'R' || kind == 'W' || kind == 'D';
    if (!log_at || !path || !*path) return;
    if (code == NOENT || code == NOTDIR) kind = kind == 'R' ? 'R' : 'M', code = 0;
    else if (kind == 'R' && !code) kind = 'H';
    else if (code == EXIST || code == ISDIR || code == INVAL) kind = 'H', code = 0;
    else if (code) kind = 'E';
    size_t length = length_of(path);
    if (path[0] != '/') {
        int saved = *__errno_location();
        size_t before = start_directory(fd, &start, linked);
        *__errno_location() = saved;
        if (!before || before + 1 + length > sizeof joined) {
            mark_flawed();
            return;
        }
        copy(joined, start, before);
        if (before > 1) joined[before++] = '/';
        copy(joined + before, path, length + 1);
        path = joined;
        length += before;
    }
    if (is_ours(path, is_opened) || is_repeated(kind, path, length)) return;
    put(kind, code, path, length);
}

static int outcome(int failed) { return failed ? *__errno_location() : 0; }

static void note_int(char kind, int fd, const char *path, int result) {
    note(kind, fd, path, outcome(result < 0));
}

static void note_exec(const char *path) {
    int saved = *__errno_location();
    char *physical = log_at ? REAL(realpath)(path, NULL) : NULL;
    if (physical) put('X', 0, physical, length_of(physical));
    free(physical);
    *__errno_location() = saved;
}

/* ---- the start of a process ------------------------------------------------------------------- */

static int starts_with(const char *text, const char *start) {
    while (*start && *text == *start) text++, start++;
    return !*start;
}

static void restore_pwd(void) {
    char **ours = environ, **to = environ;
    while (*ours && !starts_with(*ours, "ZCC_PWD=")) ours++;
    if (!*ours) return;
    char *pwd = *ours + 4; /* "PWD=..." */
    for (char **from = environ; *from; from++) {
        if (from == ours && pwd[4]) *to++ = pwd;
        else if (from != ours && !starts_with(*from, "PWD=")) *to++ = *from;
    }
    *to = NULL;
}

__attribute__((constructor)) static void start(void) {
    char program[PATH_BYTES];
    if (&environ && environ) restore_pwd();
    int fd = REAL(open)(LOG_PATH, O_RDWR_ | O_CLOEXEC_);
    if (fd < 0) return;
    long size = lseek(fd, 0, 2);
    void *map = size > HEADER_BYTES ? mmap(NULL, (size_t)size, 3, 1, fd, 0) : (void *)-1;
    close(fd);
    if (map == (void *)-1) return;
    log_size = (u64)size;
    log_at = map;
    ssize_t length = REAL(readlink)("/proc/self/exe", program, sizeof program);
    if (length > 0) put('S', 0, program, (size_t)length);
    else mark_flawed();
}

/* ---- shadowed: opening ------------------------------------------------------------------------ */

static char kind_of(int flags) {
    if ((flags & O_ACCMODE_) || (flags & (O_CREAT_ | O_TRUNC_))) return 'W';
    return flags & O_DIRECTORY_ ? 'D' : 'R';
}

#define OPEN_MODE(flags)                                                                            \
    u32 mode = 0;                                                                                   \
    if ((flags & O_CREAT_) || (flags & O_TMPFILE_)) {                                               \
        __builtin_va_list rest;                                                                     \
        __builtin_va_start(rest, flags);                                                            \
        mode = __builtin_va_arg(rest, u32);                                                         \
        __builtin_va_end(rest);                                                                     \
    }

#define SHADOW_OPEN(name)                                                                           \
    EXPORT int name(const char *path, int flags, ...) {                                             \
        OPEN_MODE(flags)                                                                            \
        int fd = REAL(name)(path, flags, mode);                                                     \
        note_int(kind_of(flags), FD_CWD, path, fd);                                                 \
        return fd;                                                                                  \
    }
#define SHADOW_OPENAT(name)                                                                         \
    EXPORT int name(int at, const char *path, int flags, ...) {                                     \
        OPEN_MODE(flags)                                                                            \
        int fd = REAL(name)(at, path, flags, mode);                                                 \
        note_int(kind_of(flags), at, path, fd);                                                     \
        return fd;                                                                                  \
    }
#define SHADOW_OPEN_2(name)                                                                         \
    EXPORT int name(const char *path, int flags) {                                                  \
        int fd = REAL(name)(path, flags);                                                           \
        note_int(kind_of(flags), FD_CWD, path, fd);                                                 \
        return fd;                                                                                  \
    }
#define SHADOW_OPENAT_2(name)                                                                       \
    EXPORT int name(int at, const char *path, int flags) {                                          \
        int fd = REAL(name)(at, path, flags);                                                       \
        note_int(kind_of(flags), at, path, fd);                                                     \
        return fd;                                                                                  \
    }
SHADOW_OPEN(open)
SHADOW_OPEN(open64)
SHADOW_OPENAT(openat)
SHADOW_OPENAT(openat64)
SHADOW_OPEN_2(__open_2)
SHADOW_OPEN_2(__open64_2)
SHADOW_OPENAT_2(__openat_2)
SHADOW_OPENAT_2(__openat64_2)

#define SHADOW_CREAT(name)                                                                          \
    EXPORT int name(const char *path, u32 mode) {                                                   \
        int fd = REAL(name)(path, mode);                                                            \
        note_int('W', FD_CWD, path, fd);                                                            \
        return fd;                                                                                  \
    }
SHADOW_CREAT(creat)
SHADOW_CREAT(creat64)

static char kind_of_mode(const char *mode) {
    if (*mode != 'r') return 'W';
    for (; *mode && *mode != ','; mode++)
        if (*mode == '+') return 'W';
    return 'R';
}

#define SHADOW_FOPEN(name)                                                                          \
    EXPORT void *name(const char *path, const char *mode) {                                         \
        void *file = REAL(name)(path, mode);                                                        \
        note(kind_of_mode(mode), FD_CWD, path, outcome(!file));                                     \
        return file;                                                                                \
    }
#define SHADOW_FREOPEN(name)                                                                        \
    EXPORT void *name(const char *path, const char *mode, void *old) {                              \
        void *file = REAL(name)(path, mode, old);                                                   \
        note(kind_of_mode(mode), FD_CWD, path, outcome(!file));                                     \
        return file;                                                                                \
    }
SHADOW_FOPEN(fopen)
SHADOW_FOPEN(fopen64)
SHADOW_FREOPEN(freopen)
SHADOW_FREOPEN(freopen64)

/* ---- shadowed: asking ------------------------------------------------------------------------- */

#define SHADOW_PATH_BUFFER(name)                                                                    \
    EXPORT int name(const char *path, void *buffer) {                                               \
        int result = REAL(name)(path, buffer);                                                      \
        note_int('H', FD_CWD, path, result);                                                        \
        return result;                                                                              \
    }
SHADOW_PATH_BUFFER(stat)
SHADOW_PATH_BUFFER(stat64)
SHADOW_PATH_BUFFER(lstat)
SHADOW_PATH_BUFFER(lstat64)
SHADOW_PATH_BUFFER(statfs)
SHADOW_PATH_BUFFER(statfs64)
SHADOW_PATH_BUFFER(statvfs)
SHADOW_PATH_BUFFER(statvfs64)

/* glibc before 2.33 has stat only under these names. */
#define SHADOW_XSTAT(name)                                                                          \
    EXPORT int name(int version, const char *path, void *buffer) {                                  \
        int result = REAL(name)(version, path, buffer);                                             \
        note_int('H', FD_CWD, path, result);                                                        \
        return result;                                                                              \
    }
#define SHADOW_FXSTATAT(name)                                                                       \
    EXPORT int name(int version, int at, const char *path, void *buffer, int flags) {               \
        int result = REAL(name)(version, at, path, buffer, flags);                                  \
        note_int('H', at, path, result);                                                            \
        return result;                                                                              \
    }
#define SHADOW_FSTATAT(name)                                                                        \
    EXPORT int name(int at, const char *path, void *buffer, int flags) {                            \
        int result = REAL(name)(at, path, buffer, flags);                                           \
        note_int('H', at, path, result);                                                            \
        return result;                                                                              \
    }
SHADOW_XSTAT(__xstat)
SHADOW_XSTAT(__xstat64)
SHADOW_XSTAT(__lxstat)
SHADOW_XSTAT(__lxstat64)
SHADOW_FXSTATAT(__fxstatat)
SHADOW_FXSTATAT(__fxstatat64)
SHADOW_FSTATAT(fstatat)
SHADOW_FSTATAT(fstatat64)

EXPORT int statx(int at, const char *path, int flags, u32 mask, void *buffer) {
    __typeof__(&statx) real = REAL(statx);
    if (!real) {
        *__errno_location() = NOSYS;
        return -1;
    }
    int result = real(at, path, flags, mask, buffer);
    note_int('H', at, path, result);
    return result;
}

#define SHADOW_ACCESS(name)                                                                         \
    EXPORT int name(const char *path, int mode) {                                                   \
        int result = REAL(name)(path, mode);                                                        \
        note_int('H', FD_CWD, path, result);                                                        \
        return result;                                                                              \
    }
SHADOW_ACCESS(access)
SHADOW_ACCESS(eaccess)
SHADOW_ACCESS(euidaccess)

EXPORT int faccessat(int at, const char *path, int mode, int flags) {
    int result = REAL(faccessat)(at, path, mode, flags);
    note_int('H', at, path, result);
    return result;
}

EXPORT ssize_t readlink(const char *path, char *buffer, size_t size) {
    ssize_t result = REAL(readlink)(path, buffer, size);
    note_int('H', FD_CWD, path, (int)result);
    return result;
}

EXPORT ssize_t readlinkat(int at, const char *path, char *buffer, size_t size) {
    ssize_t result = REAL(readlinkat)(at, path, buffer, size);
    note_int('H', at, path, (int)result);
    return result;
}

EXPORT ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t room) {
    ssize_t result = REAL(__readlink_chk)(path, buffer, size, room);
    note_int('H', FD_CWD, path, (int)result);
    return result;
}

EXPORT char *realpath(const char *path, char *buffer) {
    char *result = REAL(realpath)(path, buffer);
    note('H', FD_CWD, path, outcome(!result));
    return result;
}

EXPORT char *__realpath_chk(const char *path, char *buffer, size_t room) {
    char *result = REAL(__realpath_chk)(path, buffer, room);
    note('H', FD_CWD, path, outcome(!result));
    return result;
}

EXPORT char *canonicalize_file_name(const char *path) {
    char *result = REAL(canonicalize_file_name)(path);
    note('H', FD_CWD, path, outcome(!result));
    return result;
}

/* ---- shadowed: directories -------------------------------------------------------------------- */

EXPORT void *opendir(const char *path) {
    void *result = REAL(opendir)(path);
    note('D', FD_CWD, path, outcome(!result));
    return result;
}

#define SHADOW_SCANDIR(name)                                                                        \
    EXPORT int name(const char *path, void *list, void *filter, void *compare) {                    \
        int result = REAL(name)(path, list, filter, compare);                                       \
        note_int('D', FD_CWD, path, result);                                                        \
        return result;                                                                              \
    }
SHADOW_SCANDIR(scandir)
SHADOW_SCANDIR(scandir64)

#define SHADOW_WALK(name)                                                                           \
    EXPORT int name(const char *path, void *visit, int depth, int flags) {                          \
        mark_flawed();                                                                              \
        return REAL(name)(path, visit, depth, flags);                                               \
    }
SHADOW_WALK(nftw)
SHADOW_WALK(nftw64)

EXPORT void *fts_open(char *const *paths, int options, void *compare) {
    mark_flawed();
    return REAL(fts_open)(paths, options, compare);
}

EXPORT int glob(const char *pattern, int flags, void *failed, void *found) {
    mark_flawed();
    return REAL(glob)(pattern, flags, failed, found);
}

EXPORT int chdir(const char *path) {
    const char *before;
    if (*path != '/') start_directory(FD_CWD, &before, NULL);
    int result = REAL(chdir)(path);
    note_int('H', FD_CWD, path, result);
    cwd_pid = 0;
    return result;
}

EXPORT int fchdir(int fd) {
    int result = REAL(fchdir)(fd);
    cwd_pid = 0;
    return result;
}

/* ---- shadowed: creating ----------------------------------------------------------------------- */

EXPORT int mkdir(const char *path, u32 mode) {
    int result = REAL(mkdir)(path, mode);
    note_int('W', FD_CWD, path, result);
    return result;
}

EXPORT int rename(const char *from, const char *to) {
    int result = REAL(rename)(from, to);
    if (!result) note('W', FD_CWD, to, 0);
    return result;
}

/* objcopy makes its output under such a name, beside the place where it will be. */
#define SHADOW_MKSTEMP(name, parameters, arguments)                                                 \
    EXPORT int name parameters {                                                                    \
        int fd = REAL(name) arguments;                                                              \
        if (fd >= 0) note('W', FD_CWD, path, 0);                                                    \
        return fd;                                                                                  \
    }
SHADOW_MKSTEMP(mkstemp, (char *path), (path))
SHADOW_MKSTEMP(mkstemp64, (char *path), (path))
SHADOW_MKSTEMP(mkostemp, (char *path, int flags), (path, flags))
SHADOW_MKSTEMP(mkostemp64, (char *path, int flags), (path, flags))
SHADOW_MKSTEMP(mkstemps, (char *path, int suffix), (path, suffix))
SHADOW_MKSTEMP(mkstemps64, (char *path, int suffix), (path, suffix))
SHADOW_MKSTEMP(mkostemps, (char *path, int suffix, int flags), (path, suffix, flags))
SHADOW_MKSTEMP(mkostemps64, (char *path, int suffix, int flags), (path, suffix, flags))

EXPORT char *mkdtemp(char *path) {
    char *result = REAL(mkdtemp)(path);
    if (result) note('W', FD_CWD, path, 0);
    return result;
}

/* ---- shadowed: executing ---------------------------------------------------------------------- */

EXPORT int execve(const char *path, char *const *argv, char *const *variables) {
    note_exec(path);
    int result = REAL(execve)(path, argv, variables);
    note_int('H', FD_CWD, path, result);
    return result;
}

EXPORT int execv(const char *path, char *const *argv) { return execve(path, argv, environ); }

/* Calls `attempt` with each place that a program of this name may lie at, as execvp does, until one
 * does not answer that there is none. */
static int search_path(const char *name, int (*attempt)(const char *, void *), void *state) {
    char place[JOINED_BYTES];
    const char *path = "/bin:/usr/bin";
    size_t length = length_of(name);
    for (const char *c = name; *c; c++)
        if (*c == '/') return attempt(name, state);
    for (char **variable = environ; variable && *variable; variable++)
        if (starts_with(*variable, "PATH=")) path = *variable + 5;
    for (;;) {
        size_t before = 0;
        while (path[before] && path[before] != ':') before++;
        if (*name && before + length + 2 < sizeof place) {
            copy(place, path, before);
            if (before) place[before++] = '/';
            copy(place + before, name, length + 1);
            before -= before != 0;
            int code = attempt(place, state);
            if (code != NOENT && code != NOTDIR && code != ACCES) return code;
        }
        while (*path && *path != ':') path++;
        if (!*path++) return NOENT;
    }
}

typedef struct {
    int *pid;
    const void *actions, *attributes;
    char *const *argv, *const *variables;
} Spawn;

EXPORT int posix_spawn(int *pid, const char *path, const void *actions, const void *attributes,
                       char *const *argv, char *const *variables) {
    note_exec(path);
    int code = REAL(posix_spawn)(pid, path, actions, attributes, argv, variables);
    note('H', FD_CWD, path, code);
    return code;
}

static int exec_at(const char *path, void *state) {
    Spawn *spawn = state;
    execve(path, spawn->argv, spawn->variables);
    return *__errno_location();
}

static int spawn_at(const char *path, void *state) {
    Spawn *spawn = state;
    return posix_spawn(spawn->pid, path, spawn->actions, spawn->attributes, spawn->argv,
                       spawn->variables);
}

EXPORT int execvpe(const char *name, char *const *argv, char *const *variables) {
    Spawn spawn = {NULL, NULL, NULL, argv, variables};
    *__errno_location() = search_path(name, exec_at, &spawn);
    return -1;
}

EXPORT int execvp(const char *name, char *const *argv) { return execvpe(name, argv, environ); }

EXPORT int posix_spawnp(int *pid, const char *name, const void *actions, const void *attributes,
                        char *const *argv, char *const *variables) {
    Spawn spawn = {pid, actions, attributes, argv, variables};
    return search_path(name, spawn_at, &spawn);
}

/* ---- plugins ---------------------------------------------------------------------------------- */

/* Set while a library is loaded by its path, which no compiler does unless the command line names a plugin.
 * From then on there is foreign code in the process: what it asks of the environment is logged, and what
 * cannot be logged is a flaw. */
static int has_plugin;

static int note_library(Library *library, size_t size, void *state) {
    (void)size, (void)state;
    if (library->name && is_under(library->name, "/.zcc", 5)) return 0; /* this one */
    /* The program's own name is empty, that of the vdso has no directory. */
    for (const char *c = library->name; c && *c; c++)
        if (*c == '/') {
            note('H', FD_CWD, library->name, 0);
            break;
        }
    return 0;
}

EXPORT void *dlopen(const char *path, int mode) {
    int is_path = 0, had_plugin = has_plugin;
    for (const char *c = path; c && *c; c++) is_path |= *c == '/';
    if (!path || !log_at || !(is_path || had_plugin)) return REAL(dlopen)(path, mode);
    has_plugin = 1;
    void *handle = REAL(dlopen)(path, mode);
    if (handle) dl_iterate_phdr(note_library, NULL);
    else if (!had_plugin && is_path) access(path, 0); /* the shadow above: logged */
    else mark_flawed();
    return handle;
}

static void note_variable(const char *name) {
    char joined[PATH_BYTES];
    size_t length = length_of(name);
    if (!has_plugin || !log_at || !length) return;
    if (length + 2 > sizeof joined) {
        mark_flawed();
        return;
    }
    joined[0] = '/';
    copy(joined + 1, name, length + 1);
    if (!is_repeated('V', joined, length + 1)) put('V', 0, joined, length + 1);
}

#define SHADOW_GETENV(name)                                                                         \
    EXPORT char *name(const char *variable) {                                                       \
        note_variable(variable);                                                                    \
        return REAL(name)(variable);                                                                \
    }
SHADOW_GETENV(getenv)
SHADOW_GETENV(secure_getenv)
SHADOW_GETENV(__secure_getenv)

/* How compilers expand __TIME__, whatever it was pasted from or which precompiled header held it. */
static void note_time(const char *function) {
    size_t length = length_of(function);
    if (log_at && !is_repeated('T', function, length)) put('T', 0, function, length);
}

EXPORT void *localtime(const long *seconds) {
    note_time("/localtime");
    return REAL(localtime)(seconds);
}

EXPORT void *localtime_r(const long *seconds, void *result) {
    note_time("/localtime_r");
    return REAL(localtime_r)(seconds, result);
}

EXPORT int socket(int domain, int type, int protocol) {
    if (has_plugin) mark_flawed();
    return REAL(socket)(domain, type, protocol);
}

EXPORT long syscall(long number, long a, long b, long c, long d, long e, long f) {
    if (has_plugin) mark_flawed();
    return REAL(syscall)(number, a, b, c, d, e, f);
}

/* system, popen and the execl family run programs that this library cannot name. */
EXPORT int system(const char *command) {
    mark_flawed();
    return REAL(system)(command);
}

EXPORT void *popen(const char *command, const char *mode) {
    mark_flawed();
    return REAL(popen)(command, mode);
}
