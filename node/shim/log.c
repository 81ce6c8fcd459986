/* Writes the log (log.h). */
#include "log.h"

#include "symbols.h"
#include "text.h"

/* Hashes of the look-ups that this process has logged: clang stats a directory some hundred times. */
enum { SEEN_SLOTS = 8192 };

static char *log_at;
static u64 log_size;
static u64 seen[SEEN_SLOTS];
static char cwd[PATH_BYTES];
static size_t cwd_length;
static int cwd_pid;

int open_log(void)
{
    int fd = REAL(open)(LOG_PATH, O_RDWR_ | O_CLOEXEC_);
    if (fd < 0)
        return 0;
    long size = lseek(fd, 0, SEEK_END_);
    void *map = size > HEADER_BYTES ? mmap(NULL, (size_t)size, PROT_READ_WRITE, MAP_SHARED_, fd, 0) : (void *)-1;
    close(fd);
    if (map == (void *)-1)
        return 0;
    log_size = (u64)size;
    log_at = map;
    return 1;
}

int is_logging(void)
{
    return log_at != NULL;
}

static u64 add(u64 *counter, u64 amount)
{
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

void mark_flawed(void)
{
    if (log_at)
        add((u64 *)(log_at + 8), 1);
}

static int is_repeated(char kind, const char *path, size_t length)
{
    u64 hash = 14695981039346656037ul ^ (u8)kind;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (u8)path[i]) * 1099511628211ul;
    u64 *slot = seen + (hash >> 13) % SEEN_SLOTS;
    if (*slot == hash)
        return 1;
    *slot = hash;
    return 0;
}

void put(char kind, int code, const char *path, size_t length)
{
    size_t size = 1 + (code != 0) + length + 1;
    u64 at = add((u64 *)log_at, size);
    if (at + size > log_size) {
        mark_flawed();
        return;
    }
    char *record = log_at + at, *to = record + 1;
    if (code)
        *to++ = (char)code;
    copy(to, path, length);
    __atomic_store_n(record, kind, __ATOMIC_RELEASE);
}

/* What is the sandbox's own, and what compilers ask the system of themselves: clang its own name and those of its
 * descriptors, any of them whether PWD (Bazel's is /proc/self/cwd) is where they are. All else below /proc, /sys
 * and /dev is logged: a source that names it (`__has_include("/dev/kvm")`) would get another answer here. So is
 * what is missing in the sandbox, whatever it is, but a temporary file: it may be there for the client. */
static int is_ours(const char *path, int is_opened, int is_missing)
{
    static const char *const ours[] = {"/dev/null", "/dev/urandom", "/proc/cpuinfo"};
    static const char *const named[] = {
        "/proc", "/proc/self", "/proc/self/exe", "/proc/self/fd", "/proc/self/cwd", "/dev",
    };
    static const char descriptor[] = "/proc/self/fd/";
    if (path[0] != '/' || (path[1] != '.' && path[1] != 'p' && path[1] != 'd'))
        return 0;
    if (is_under(path, "/.zcc/tmp", 9))
        return 1;
    if (is_missing)
        return 0;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (is_equal(path, ours[i]))
            return 1;
    for (size_t i = 0; !is_opened && i < sizeof named / sizeof *named; i++)
        if (is_equal(path, named[i]))
            return 1;
    if (is_opened || !is_under(path, descriptor, sizeof descriptor - 2))
        return 0;
    for (path += sizeof descriptor - 1; *path >= '0' && *path <= '9'; path++)
        continue;
    return !*path;
}

size_t spell_descriptor(char *to, int fd)
{
    static const char top[] = "/proc/self/fd/";
    size_t length = sizeof top - 1;
    copy(to, top, length);
    return length + spell_number(to + length, (u64)fd);
}

/* The directory that relative paths start from; its length, 0 if unknown. A vforked child shares this
 * memory, hence the owner. */
static size_t start_directory(int fd, const char **at, char *buffer)
{
    if (fd != FD_CWD) {
        char name[DESCRIPTOR_BYTES];
        if (fd < 0)
            return 0;
        spell_descriptor(name, fd);
        ssize_t got = REAL(readlink)(name, buffer, PATH_BYTES);
        *at = buffer;
        return got > 0 && got < PATH_BYTES && buffer[0] == '/' ? (size_t)got : 0;
    }
    int pid = getpid();
    if (cwd_pid != pid) {
        /* Not libc's, which walks up where the kernel finds the name too long: thousands of calls for each path. */
        long got = REAL(syscall)(CALL_GETCWD, (long)cwd, sizeof cwd, 0, 0, 0, 0);
        if (got <= 0 || cwd[0] != '/')
            return 0;
        cwd_length = (size_t)got - 1;
        cwd_pid = pid;
    }
    *at = cwd;
    return cwd_length;
}

void note(char kind, int fd, const char *path, int code)
{
    char joined[JOINED_BYTES], linked[PATH_BYTES];
    const char *start = NULL;
    int is_opened = kind == 'R' || kind == 'W' || kind == 'D';
    int is_missing = code == NOENT || code == NOTDIR || code == NAMETOOLONG;
    if (!log_at || !path)
        return;
    if (code == FAULT) {
        mark_flawed(); /* the path may lie where it cannot be read */
        return;
    }
    if (!*path)
        return;
    if (is_missing)
        kind = kind == 'R' ? 'R' : 'M', code = 0;
    else if (kind == 'R' && !code)
        kind = 'H';
    else if (code == EXIST || code == ISDIR || code == INVAL)
        kind = 'H', code = 0;
    else if (code)
        kind = 'E';
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
        if (before > 1)
            joined[before++] = '/';
        copy(joined + before, path, length + 1);
        path = joined;
        length += before;
    }
    if (!is_ours(path, is_opened, is_missing))
        put_once(kind, code, path, length);
}

void note_unseen(const char *name)
{
    if (log_at)
        put_once('F', 0, name, length_of(name));
}

int outcome(int failed)
{
    return failed ? *__errno_location() : 0;
}

void note_int(char kind, int fd, const char *path, int result)
{
    note(kind, fd, path, outcome(result < 0));
}

void note_pair(int from_at, const char *from, int to_at, const char *to, int result)
{
    int saved = *__errno_location();
    if (result == 0) {
        note('H', from_at, from, 0);
        note('W', to_at, to, 0);
        return;
    }
    faccessat(from_at, from, 0, NO_FOLLOW);
    faccessat(to_at, to, 0, NO_FOLLOW);
    *__errno_location() = saved;
}

void put_once(char kind, int code, const char *path, size_t length)
{
    if (!is_repeated(kind, path, length))
        put(kind, code, path, length);
}

void remember_directory(void)
{
    const char *at;
    start_directory(FD_CWD, &at, NULL);
}

void forget_directory(void)
{
    cwd_pid = 0;
}
