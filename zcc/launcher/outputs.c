#define _GNU_SOURCE
#include "outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "call.h"
#include "program.h"
#include "protocol.h"
#include "reply.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct output *outputs;
static volatile sig_atomic_t output_count; /* of those that may have a temporary */
static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

static void remove_temporaries(void)
{
    for (int i = 0; i < output_count; i++)
        if (outputs[i].temporary)
            unlinkat(outputs[i].directory, outputs[i].temporary, 0);
}

static void on_deadly_signal(int number)
{
    remove_temporaries();
    signal(number, SIG_DFL);
    raise(number);
}

static void on_full_file(int number)
{
    (void)number; /* write() says EFBIG */
}

static void change_handler(int number, void (*from)(int), void (*to)(int))
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == from) {
        action.sa_handler = to;
        sigaction(number, &action, NULL);
    }
}

static void watch_signals(void)
{
    for (size_t i = 0; i < COUNT(deadly); i++)
        change_handler(deadly[i], SIG_DFL, on_deadly_signal);
    /* What a compiler says of a file beyond `ulimit -f`, only it can say. */
    change_handler(SIGXFSZ, SIG_DFL, on_full_file);
}

static void unwatch_signals(void)
{
    for (size_t i = 0; i < COUNT(deadly); i++)
        change_handler(deadly[i], on_deadly_signal, SIG_DFL);
    change_handler(SIGXFSZ, on_full_file, SIG_DFL);
}

static void hold_signals(sigset_t *before)
{
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < COUNT(deadly); i++)
        sigaddset(&signals, deadly[i]);
    sigprocmask(SIG_BLOCK, &signals, before);
}

_Noreturn void abandon_result(const char *reason)
{
    remove_temporaries();
    output_count = 0;
    unwatch_signals();
    fall_back(reason);
}

static int write_all(int fd, const char *at, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EAGAIN) { /* make and node share non-blocking pipes */
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            (void)poll(&writable, 1, -1);
        } else if (done < 0 && errno != EINTR)
            return -1;
        else if (done > 0) {
            at += done;
            size -= (size_t)done;
        }
    }
    return 0;
}

/* Whether a stream is there, can be written to, and has an other end where it is of a kind that has. Of devices
   only terminals and /dev/null are known to take all. */
static int takes_messages(int fd)
{
    struct pollfd other = {.fd = fd};
    struct stat about;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat(fd, &about) != 0)
        return 0;
    if (S_ISCHR(about.st_mode) && about.st_rdev != makedev(1, 3) && !isatty(fd))
        return 0;
    return poll(&other, 1, 0) <= 0 || !(other.revents & POLLERR);
}

/* Where output `number` goes, as the compiler would find it now: a build directory may have been renamed, removed
   or made anew since the compile was asked for. */
static int open_directory(int number)
{
    const struct output *output = &outputs[number], *last = number > 0 ? output - 1 : NULL;
    char directory[PATH_MAX];
    size_t length = (size_t)(output->name - output->path);
    if (length == 0)
        return AT_FDCWD;
    if (last && (size_t)(last->name - last->path) == length && memcmp(last->path, output->path, length) == 0)
        return last->directory;
    memcpy(directory, output->path, length);
    directory[length] = '\0';
    return open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* A new file beside output `number`'s path. It is on record as soon as it exists, and no sooner: one of that name
   may be another's, whose process has this one's number in another namespace. */
static int open_temporary(int number)
{
    struct output *output = &outputs[number];
    sigset_t before;
    output->directory = open_directory(number);
    for (int attempt = 0; attempt < 100; attempt++) {
        char *temporary;
        if (asprintf(&temporary, ".%.200s.zcc-%ld-%d", output->name, (long)getpid(), number + attempt * MAX_FILES) < 0)
            return -1;
        hold_signals(&before);
        int fd =
            openat(output->directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, output->mode);
        int error = errno;
        if (fd >= 0) {
            output->temporary = temporary;
            output_count = number + 1;
        }
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (fd >= 0 || error != EEXIST)
            return fd;
        free(temporary);
    }
    return -1;
}

static void receive_file(int agent, int number)
{
    int fd = open_temporary(number);
    uint64_t left = outputs[number].size;
    if (fd < 0)
        abandon_result("an output cannot be created");
    for (const char *at; left > 0;) {
        size_t got = receive(agent, &at, left);
        if (write_all(fd, at, got) != 0)
            abandon_result("an output cannot be written");
        left -= got;
    }
    if (close(fd) != 0)
        abandon_result("an output cannot be written");
}

/* The heads of a result's files; returns how many bytes of payload head and contents are. */
static uint64_t receive_heads(int agent, uint32_t files, uint64_t length)
{
    uint64_t used = 16;
    outputs = calloc(files + 1, sizeof *outputs);
    if (!outputs)
        abandon_result("not enough memory for the agent's answer");
    for (uint32_t i = 0; i < files; i++) {
        size_t path_length = (size_t)receive_number(agent, 4);
        uint32_t mode = (uint32_t)receive_number(agent, 4);
        outputs[i].mode = (mode_t)mode & 0777;
        outputs[i].is_into = (mode & INTO) != 0;
        outputs[i].size = receive_number(agent, 8);
        if (path_length == 0 || path_length >= PATH_MAX || outputs[i].size > length)
            abandon_result("the agent's answer makes no sense");
        outputs[i].path = receive_text(agent, path_length);
        if (strlen(outputs[i].path) != path_length)
            abandon_result("the agent's answer makes no sense");
        outputs[i].name = basename_of(outputs[i].path);
        used += 16 + path_length + outputs[i].size;
    }
    return used;
}

/* What the assembler and clang do to an output that is there is a rename; what cc1 does is this. */
static int write_into(const struct output *output)
{
    static char piece[64 << 10];
    int from = openat(output->directory, output->temporary, O_RDONLY | O_CLOEXEC), result = -1;
    if (from >= 0 && ftruncate(output->into, 0) == 0) {
        ssize_t got;
        while ((got = read(from, piece, sizeof piece)) > 0)
            if (write_all(output->into, piece, (size_t)got) != 0)
                break;
        result = got == 0 && unlinkat(output->directory, output->temporary, 0) == 0 ? 0 : -1;
    }
    close(from);
    return close(output->into) == 0 ? result : -1;
}

static int open_into(const struct output *output)
{
    return openat(output->directory, output->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
}

static int replace(const struct output *output)
{
    return renameat(output->directory, output->temporary, output->directory, output->name);
}

static void place_files(uint32_t files)
{
    sigset_t before;
    for (uint32_t i = 0; i < files; i++)
        if (outputs[i].is_into && (outputs[i].into = open_into(&outputs[i])) < 0)
            abandon_result("an output cannot be opened");
    hold_signals(&before);
    for (uint32_t i = 0; i < files; i++) {
        if ((outputs[i].is_into ? write_into(&outputs[i]) : replace(&outputs[i])) != 0) {
            sigprocmask(SIG_SETMASK, &before, NULL);
            abandon_result("an output cannot be put in its place");
        }
        outputs[i].temporary = NULL;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

_Noreturn void place_result(int agent, uint32_t length)
{
    uint32_t status = (uint32_t)receive_number(agent, 4), files = (uint32_t)receive_number(agent, 4);
    size_t sizes[2];
    sizes[0] = (size_t)receive_number(agent, 4);
    sizes[1] = (size_t)receive_number(agent, 4);
    if (status > 255 || files > MAX_FILES || sizes[0] + sizes[1] > MAX_MESSAGES ||
        receive_heads(agent, files, length) + sizes[0] + sizes[1] != length)
        abandon_result("the agent's answer makes no sense");
    char *messages[2] = {receive_text(agent, sizes[0]), receive_text(agent, sizes[1])};
    /* What a compiler makes of a stream that nobody reads, that is closed or full, only it can say; it may
       write no output then, so none is placed before. */
    if ((sizes[0] > 0 && !takes_messages(STDOUT_FILENO)) || (sizes[1] > 0 && !takes_messages(STDERR_FILENO)))
        fall_back("nobody takes the messages");
    watch_signals();
    for (uint32_t i = 0; i < files; i++)
        receive_file(agent, (int)i);
    place_files(files);
    unwatch_signals();
    if (write_all(STDOUT_FILENO, messages[0], sizes[0]) != 0 || write_all(STDERR_FILENO, messages[1], sizes[1]) != 0)
        fall_back("the messages cannot be written");
    _exit((int)status);
}
