/* System calls that libc's functions do not make: shadowed where a function makes them, watched where an instruction
 * does. Only those of a list of harmless ones say nothing about files.
 *
 * The kernel can send a thread SIGSYS for each system call from outside of one range of addresses (syscall user
 * dispatch, Linux 5.11, x86-64). The range is libc's text, and libpthread's before glibc 2.34, which has read and
 * open of its own, with what lies between the two. The handler makes the loader's calls and harmless ones itself, and
 * takes all others for code that goes past the log: a flaw, after which this thread is watched no more and its call
 * is made as it is. The setting is a thread's own, and gone after exec, where this library starts anew, and after
 * fork.
 *
 * Not seen: what a child does between vfork and exec, and what libc looks up within its own functions. A filter
 * (seccomp) by address cannot do this: it outlives exec, where other addresses are libc's. A supervisor that is asked
 * for each call (seccomp's user notification) costs two switches of context a call.
 */
#include "calls.h"

#include "shadow.h"
#include "text.h"

static const u16 harmless[] = {HARMLESS_CALLS};

static int is_harmless(long number)
{
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (harmless[i] == number)
            return 1;
    return 0;
}

/* A record with the number, which is what somebody looks up who wonders. */
static void note_call(long number)
{
    char name[40] = "/system call ";
    spell_number(name + length_of(name), (u64)number);
    note_unseen(name);
}

/* Those that take a path: which argument it is, and that of an open's flags. */
typedef struct {
    u16 number;
    u8 path, flags;
} PathCall;

static const PathCall path_calls[] = {
#ifdef __x86_64__
    {CALL_OPEN, 0, 1},      {CALL_STAT, 0, 0},       {CALL_LSTAT, 0, 0},
    {CALL_ACCESS, 0, 0},    {CALL_READLINK, 0, 0},
#endif
    {CALL_OPENAT, 1, 2},    {CALL_NEWFSTATAT, 1, 0}, {CALL_READLINKAT, 1, 0},
    {CALL_FACCESSAT, 1, 0}, {CALL_STATX, 1, 0},      {CALL_FACCESSAT2, 1, 0},
};

static const PathCall *find_path_call(long number)
{
    for (size_t i = 0; i < sizeof path_calls / sizeof *path_calls; i++)
        if (path_calls[i].number == number)
            return path_calls + i;
    return NULL;
}

/* Allocators ask so how memory is given out, which reaches no output. */
static int is_about_memory(const char *path)
{
    return is_equal(path, "/proc/sys/vm/overcommit_memory") ||
           is_equal(path, "/sys/kernel/mm/transparent_hugepage/enabled");
}

EXPORT long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    const PathCall *call = find_path_call(number);
    long words[] = {a, b, c};
    if (!call && !is_harmless(number))
        note_call(number); /* before it: it may not return */
    long result = REAL(syscall)(number, a, b, c, d, e, f);
    if (call) {
        const char *path = (const char *)words[call->path];
        int code = outcome(result < 0);
        if (code == FAULT || !path || !is_about_memory(path))
            note(call->flags ? kind_of_open((int)words[call->flags]) : 'H', call->path ? (int)a : FD_CWD, path, code);
    }
    return result;
}

#ifdef __x86_64__

static struct {
    u64 from, size;
} libc, loader;

static const char *base_name(const char *path)
{
    const char *name = path ? path : "";
    for (const char *c = name; *c; c++)
        if (*c == '/')
            name = c + 1;
    return name;
}

static void span(u64 from, u64 size)
{
    u64 end = from + size, libc_end = libc.from + libc.size;
    if (!libc.size || from < libc.from)
        libc.from = from;
    libc.size = (libc_end > end ? libc_end : end) - libc.from;
}

/* Takes the executable segments: libc's is the one that holds syscall. */
static int find_texts(Library *library, size_t size, void *state)
{
    u64 within = *(u64 *)state;
    const char *name = base_name(library->name);
    (void)size;
    for (u16 i = 0; i < library->count; i++) {
        const Segment *segment = library->segments + i;
        u64 from = library->base + segment->vaddr;
        if (segment->type != SEGMENT_LOAD || !(segment->flags & SEGMENT_EXECUTABLE))
            continue;
        if (within - from < segment->memsz || starts_with(name, "libpthread"))
            span(from, segment->memsz);
        else if (starts_with(name, "ld-") || starts_with(name, "ld.so"))
            loader.from = from, loader.size = segment->memsz;
    }
    return 0;
}

static int set_dispatch(int mode)
{
    u64 from = mode == DISPATCH_ON ? libc.from : 0, size = mode == DISPATCH_ON ? libc.size : 0;
    return REAL(prctl)(SET_DISPATCH, mode, from, size, NULL);
}

static void on_call(int signal, SignalInfo *info, SignalContext *context)
{
    int saved = *__errno_location();
    i64 *registers = context->registers;
    u64 at = (u64)registers[REGISTER_RIP];
    int is_native = info->architecture == ARCHITECTURE_X86_64;
    if (info->code == CODE_FILTER) { /* seccomp's: as if there were no such call */
        registers[REGISTER_RAX] = -NOSYS;
    } else if (info->code != CODE_DISPATCH) { /* somebody's, who meant to end this process */
        static const SignalAction none = {0};
        REAL(sigaction)(signal, &none, NULL);
        REAL(kill)(getpid(), signal);
    } else if (is_native && (at - loader.from < loader.size || is_harmless(info->number))) {
        long result =
            REAL(syscall)(info->number, registers[REGISTER_RDI], registers[REGISTER_RSI], registers[REGISTER_RDX],
                          registers[REGISTER_R10], registers[REGISTER_R8], registers[REGISTER_R9]);
        registers[REGISTER_RAX] = result == -1 ? -*__errno_location() : result;
    } else {
        note_call(info->number);
        set_dispatch(DISPATCH_OFF);
        registers[REGISTER_RIP] -= SYSCALL_BYTES; /* once more */
    }
    *__errno_location() = saved;
}

int is_watching(void)
{
    return libc.size != 0;
}

static void unblock_signal(void)
{
    static const u64 mask[SIGNAL_MASK_WORDS] = {1ul << (SIGNAL_SYSTEM_CALL - 1)};
    REAL(sigprocmask)(SIGNALS_UNBLOCK, mask, NULL);
}

void watch_thread(void)
{
    if (!libc.size)
        return;
    unblock_signal(); /* musl starts C11's threads with all of them blocked */
    set_dispatch(DISPATCH_ON);
}

void watch_calls(void)
{
    static const SignalAction action = {.handler = on_call, .flags = ACTION_INFO | ACTION_ON_STACK | ACTION_RESTART};
    u64 within = (u64)(void *)REAL(syscall);
    dl_iterate_phdr(find_texts, &within);
    unblock_signal();
    if (!libc.size || REAL(sigaction)(SIGNAL_SYSTEM_CALL, &action, NULL) != 0 || set_dispatch(DISPATCH_ON) != 0)
        libc.size = 0; /* an old kernel */
}

#else

int is_watching(void)
{
    return 0;
}

void watch_thread(void)
{
}

void watch_calls(void)
{
}

#endif
