/* zcc, zcc++: the launcher. One runs for every compile, so it is small, needs nothing but libc, and
 * judges nothing: it tells the user's agent what was asked for and does what the agent answers:
 * places the finished outputs or execs the real compiler. Whatever goes wrong, it execs that.
 *
 * Who is called:
 *   NAME ARGS...      through a symlink NAME -> zcc: the compiler NAME, the next one on PATH
 *   zcc WORD ...      WORD is one of cli_words, or nothing: the command line, zcc-cli
 *   zcc -x|@x|x.c ... the default compiler: an option, a response file or a file for compilers
 *   zcc CC ARGS...    the compiler CC (./stats, if it is named like a WORD); another zcc is skipped
 *   zcc++             the same, without command line words; the default is the C++ compiler
 *
 * Environment: ZCC_DISABLE (exec the compiler at once), ZCC_FALLBACK=never (fail instead of falling
 * back), ZCC_CC and ZCC_CXX (default compilers while no agent says otherwise), ZCC_SOCKET and
 * ZCC_STATE_DIR (where the agent listens), ZCC_DEADLINE_MS (patience with a silent agent, 30000),
 * UNCACHED_ERR_FD (ccache's: where our own words go), ZCC_GUARD (below; set by the launcher).
 *
 * ZCC_GUARD counts how many launchers stand between a compiler and the user's shell. A wrapper
 * script that calls `gcc` and finds zcc again would go round for ever. The count, and not the
 * compiler's name, is what is checked: `zcc make`, ccache with a prefix and gcc's own LTO run zcc
 * inside zcc rightly, two or three deep. The agent sees it too: an outer call may hold a slot.
 *
 * Protocol, version 1, over a Unix stream socket, all numbers little endian. The other side is
 * zcc/agent/wire.py; the two change together.
 *
 *   Request  "ZCC\1", u32 length of what follows, u32 flags, u32 umask, u16 rows, u16 columns,
 *            u32 argc, u32 envc, then strings that each end in a NUL: physical cwd, compiler as
 *            named (empty: the default), path of the executable found (absolute; empty: none),
 *            argc arguments after the compiler, envc environment strings (all of them).
 *            At most 16 MiB follow. Flags: 1 stderr is a terminal (rows and columns are its size),
 *            2 stdin is a terminal, 4 called as zcc++, 8 the compiler was not named.
 *   Reply    any number of messages u32 kind, u32 length of the payload, payload:
 *     RUN    (1) executable NUL argv[0] NUL. The compiler is exec'ed with the connection open: that
 *            is its slot, and the kernel gives it back.
 *     RESULT (2) i32 exit status, u32 files, u32 bytes of stdout, u32 bytes of stderr, for each
 *            file u32 length of path, u32 mode, u64 size, path; then stdout, stderr, the contents.
 *     WAIT   (3) nothing: still at work, be patient.
 *     FAIL   (4) a message for the user: only under ZCC_FALLBACK=never.
 *
 * Starting the agent: see start_agent. It gets ZCC_SOCKET, where to listen, and ZCC_READY_FD, a
 * pipe: one byte means "listening", end of file without one "failed".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUN = 1, RESULT = 2, WAIT = 3, FAIL = 4 };
enum { STDERR_IS_TERMINAL = 1, STDIN_IS_TERMINAL = 2, IS_CXX = 4, IS_DEFAULT = 8 };

#define MAX_DEPTH 5               /* launchers inside each other; real nesting is 2 or 3 */
#define MAX_REQUEST (16u << 20)   /* wire.py refuses more */
#define MAX_TEXT (64u << 10)      /* payload of RUN and FAIL */
#define MAX_MESSAGES (256u << 20) /* stdout and stderr together */
#define MAX_FILES 4096
#define BUFFER_BYTES (256u << 10)
#define DEADLINE_MS 30000         /* the agent says WAIT every few seconds */
#define START_MS 5000             /* on a swamped machine Python may need seconds */
#define RETRY_START_S 30          /* an agent that cannot start is not tried for every compile */
#define SLOT_FD 100               /* above what shell scripts use by number */

#define COUNT(array) (sizeof(array) / sizeof *(array))

extern char **environ;

static const char *const cli_words[] = {
    "up", "stats", "explain", "doctor", "nodes", "toolchain", "join", "config", "agent", "cache",
    "why", "masquerade", "--help", "--version", "-h", "help",
};

/* What a compiler reads, so a first word with such an ending is no compiler. */
static const char *const file_endings[] = {
    "c", "cc", "cp", "cpp", "cxx", "c++", "C", "CC", "CPP", "h", "hh", "hpp", "hxx", "H", "m", "mm",
    "M", "i", "ii", "mi", "mii", "s", "S", "sx", "o", "a", "so",
};

static char **call_argv;        /* the compiler's own argv; [0] is set before exec */
static const char *named = "";  /* the compiler as the user wrote it; empty: the default */
static char *executable;        /* absolute path of what `named` or the default means; NULL: none */
static unsigned flags;          /* of the request */
static char own_directory[PATH_MAX];
static int agent = -1;          /* the connection */

/* ---- our own words: on the compiler's streams only where no compiler speaks ---- */

static void say(const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t end = (size_t)length < sizeof text - 1 ? (size_t)length : sizeof text - 2;
    text[end++] = '\n';
    const char *number = getenv("UNCACHED_ERR_FD");
    int fd = number && *number ? atoi(number) : STDERR_FILENO;
    if (write(fd, text, end) < 0 && fd != STDERR_FILENO)
        (void)!write(STDERR_FILENO, text, end);
}

static int is_set(const char *name)
{
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

static int is_one_of(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return 1;
    return 0;
}

static const char *basename_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static long deadline_ms(void)
{
    const char *value = getenv("ZCC_DEADLINE_MS");
    long ms = value ? atol(value) : 0;
    return ms > 0 ? ms : DEADLINE_MS;
}

/* ---- which program is meant ---- */

static struct { dev_t device; ino_t inode; } selves[3]; /* this program, zcc and zcc++ beside it */
static size_t self_count;

static void learn_self(void)
{
    static const char *const names[] = {"", "zcc", "zcc++"};
    ssize_t length = readlink("/proc/self/exe", own_directory, sizeof own_directory - 1);
    char *slash = length > 0 ? strrchr(own_directory, '/') : NULL;
    if (slash)
        slash[1] = '\0';
    else
        own_directory[0] = '\0';
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[PATH_MAX + 8];
        struct stat status;
        snprintf(path, sizeof path, "%s%s", i ? own_directory : "/proc/self/exe", names[i]);
        if ((i && !slash) || stat(path, &status) != 0)
            continue;
        selves[self_count].device = status.st_dev;
        selves[self_count++].inode = status.st_ino;
    }
}

static int is_self(const struct stat *status)
{
    for (size_t i = 0; i < self_count; i++)
        if (selves[i].device == status->st_dev && selves[i].inode == status->st_ino)
            return 1;
    return 0;
}

static char *absolute(const char *path)
{
    char *joined = NULL, *cwd = *path == '/' ? strdup("") : getcwd(NULL, 0);
    if (cwd && asprintf(&joined, "%s%s%s", cwd, *path == '/' ? "" : "/", path) < 0)
        joined = NULL;
    free(cwd);
    return joined;
}

/* The program `name` on PATH behind zcc: entries that are zcc itself do not count. A file that may
 * not be executed is the answer only if there is no better one, so that exec says why. */
static char *find_on_path(const char *name)
{
    const char *entry = getenv("PATH");
    char *blocked = NULL, path[PATH_MAX];
    struct stat status;
    if (!entry)
        entry = "/usr/local/bin:/usr/bin:/bin";
    for (int more = 1; more; ) {
        const char *end = strchrnul(entry, ':');
        int length = (int)(end - entry);
        int size = snprintf(path, sizeof path, "%.*s%s%s", length, entry, length ? "/" : "", name);
        more = *end == ':';
        entry = end + 1;
        if (size < 0 || (size_t)size >= sizeof path || stat(path, &status) != 0
            || !S_ISREG(status.st_mode) || is_self(&status))
            continue;
        if (access(path, X_OK) == 0) {
            free(blocked);
            return absolute(path);
        }
        if (!blocked)
            blocked = absolute(path);
    }
    return blocked;
}

static char *find_program(const char *name)
{
    struct stat status;
    if (!strchr(name, '/'))
        return *name ? find_on_path(name) : NULL;
    if (stat(name, &status) == 0 && is_self(&status))
        return find_on_path(basename_of(name)); /* /masquerade/gcc, by its path */
    return absolute(name);
}

static int is_file_for_a_compiler(const char *word)
{
    const char *dot = strrchr(basename_of(word), '.');
    return *word == '-' || *word == '@'
        || (dot && is_one_of(dot + 1, file_endings, COUNT(file_endings)));
}

/* One of zcc's own programs: the one installed with this launcher, else the one on PATH. */
static void exec_own(const char *name, char **argv)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s%s", own_directory, name);
    if (own_directory[0])
        execv(path, argv);
    execvp(name, argv);
}

static _Noreturn void exec_cli(char **argv)
{
    exec_own("zcc-cli", argv);
    say("zcc: zcc-cli: command not found");
    _exit(127);
}

/* Sets call_argv, named, flags; or becomes the command line. */
static void read_call(int argc, char **argv)
{
    const char *own_name = argc > 0 ? basename_of(argv[0]) : "zcc";
    call_argv = argv;
    if (strcmp(own_name, "zcc++") == 0)
        flags |= IS_CXX;
    else if (strcmp(own_name, "zcc") != 0) {
        named = own_name;
        return;
    }
    /* CC="zcc gcc" and CMAKE_C_COMPILER_LAUNCHER=zcc make `zcc zcc gcc` of it. */
    while (argc > 2 && is_one_of(basename_of(argv[1]), (const char *[]){"zcc", "zcc++"}, 2)) {
        flags = strcmp(basename_of(argv[1]), "zcc++") == 0 ? IS_CXX : 0;
        argv++, argc--;
    }
    if (!(flags & IS_CXX)
        && (argc < 2 || is_one_of(argv[1], cli_words, COUNT(cli_words))))
        exec_cli(argv);
    call_argv = argv;
    if (argc < 2 || is_file_for_a_compiler(argv[1])) {
        flags |= IS_DEFAULT;
        return;
    }
    call_argv = argv + 1;
    named = argv[1];
}

static const char *default_compiler(void)
{
    const char *chosen = getenv(flags & IS_CXX ? "ZCC_CXX" : "ZCC_CC");
    return chosen && *chosen ? chosen : flags & IS_CXX ? "c++" : "cc";
}

/* ---- the ways out ---- */

static _Noreturn void exec_compiler(const char *path, const char *name)
{
    const char *guard = getenv("ZCC_GUARD");
    int depth = guard ? atoi(guard) : 0;
    char text[16];
    if (depth > MAX_DEPTH) {
        say("zcc: %s calls itself through zcc, %d deep: name the real compiler by its full path",
            name, depth);
        _exit(1);
    }
    snprintf(text, sizeof text, "%d", depth + 1);
    if (!path || setenv("ZCC_GUARD", text, 1) != 0) {
        say("zcc: %s: command not found", name);
        _exit(127);
    }
    call_argv[0] = (char *)name;
    execvp(path, call_argv); /* with a slash in it: no search, but scripts without #! run */
    int error = errno;
    if (error == ENOENT || error == ENOTDIR)
        say("zcc: %s: command not found", name);
    else
        say("zcc: %s: %s", name, strerror(error));
    _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

static _Noreturn void run_locally(void)
{
    exec_compiler(executable, flags & IS_DEFAULT ? default_compiler() : named);
}

static _Noreturn void fall_back(const char *reason)
{
    const char *policy = getenv("ZCC_FALLBACK");
    if (policy && strcmp(policy, "never") == 0) {
        say("zcc: %s (ZCC_FALLBACK=never)", reason);
        _exit(1);
    }
    run_locally();
}

/* ---- finding the agent ---- */

struct place { /* of the agent's socket */
    char path[PATH_MAX];
    const char *name;     /* the part of path in directory */
    int directory;
    char stem[NAME_MAX];  /* name without .sock: the lock and the failure mark are named after it */
};

/* Descriptors stay off 0-2: if the caller closed one of those, the compiler must find it closed. */
static int lift(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return high;
}

static int choose_socket_path(char *path, size_t size)
{
    const char *value, *rest;
    struct utsname host;
    int length;
    if ((value = getenv("ZCC_SOCKET")) && *value)
        length = snprintf(path, size, "%s", value);
    else if ((value = getenv("ZCC_STATE_DIR")) && *value)
        length = snprintf(path, size, "%s/agent.sock", value);
    else if ((value = getenv("XDG_RUNTIME_DIR")) && *value)
        length = snprintf(path, size, "%s/zcc/agent.sock", value);
    else {
        /* Homes are shared over the network, sockets are not. */
        rest = (value = getenv("XDG_STATE_HOME")) && *value ? "" : "/.local/state";
        if ((!*rest || ((value = getenv("HOME")) && *value)) && uname(&host) == 0)
            length = snprintf(path, size, "%s%s/zcc/agent.%s.sock", value, rest, host.nodename);
        else
            return -1;
    }
    return length > 0 && (size_t)length < size ? 0 : -1;
}

static int open_directory(char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        for (char *slash = path; (slash = strchr(slash + 1, '/')); *slash = '/') {
            *slash = '\0';
            (void)mkdir(path, 0700);
        }
        (void)mkdir(path, 0700);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return lift(fd);
}

/* Opens the socket's directory, which must be the user's own and writable by nobody else: whoever
 * could put a socket there could tell us which program to run. */
static const char *find_place(struct place *place)
{
    char directory[PATH_MAX];
    struct stat status;
    if (choose_socket_path(place->path, sizeof place->path) != 0)
        return "no place for the agent's socket: set ZCC_SOCKET, XDG_RUNTIME_DIR or HOME";
    place->name = basename_of(place->path);
    size_t length = (size_t)(place->name - place->path);
    snprintf(directory, sizeof directory, "%.*s", length ? (int)length : 1,
             length ? place->path : ".");
    while (length > 1 && directory[length - 1] == '/')
        directory[--length] = '\0';
    place->directory = open_directory(directory);
    if (place->directory < 0 || fstat(place->directory, &status) != 0)
        return "the directory of the agent's socket cannot be opened";
    if (status.st_uid != geteuid() || status.st_mode & 022)
        return "the directory of the agent's socket is not this user's alone";
    size_t stem = strlen(place->name);
    if (stem > 5 && strcmp(place->name + stem - 5, ".sock") == 0)
        stem -= 5;
    snprintf(place->stem, sizeof place->stem, "%.*s", (int)stem, place->name);
    return NULL;
}

/* Connects to the agent, if one of this user's listens there. Leaves errno. */
static int connect_agent(const struct place *place, long patience_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {patience_ms / 1000, patience_ms % 1000 * 1000};
    struct ucred peer;
    socklen_t size = sizeof peer;
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s", place->path);
    if (length >= (int)sizeof address.sun_path)
        length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s",
                          place->directory, place->name);
    int fd = lift(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0 || length >= (int)sizeof address.sun_path)
        return errno = fd < 0 ? errno : ENAMETOOLONG, -1;
    /* The send timeout bounds connect, too: the backlog of a stopped agent fills up. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid())
            return fd;
        errno = EPERM;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* ---- starting the agent: once, however many launchers find it missing at one time ---- */

static void on_lock_timeout(int number) { (void)number; }

/* flock with a deadline. A timer of its own, because alarm() and setitimer() outlive exec and may
 * be somebody's; it repeats, so that a signal just before flock is no signal lost. */
static int lock_within(int fd, long ms)
{
    struct sigaction action = {.sa_handler = on_lock_timeout}; /* no SA_RESTART; exec resets it */
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX};
    struct itimerspec when = {{0, 100000000}, {ms / 1000, ms % 1000 * 1000000}};
    timer_t timer;
    sigset_t set, old_set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return -1;
    sigaction(SIGRTMAX, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, &old_set);
    timer_settime(timer, 0, &when, NULL);
    int result = flock(fd, LOCK_EX);
    timer_delete(timer);
    sigprocmask(SIG_SETMASK, &old_set, NULL);
    return result;
}

static void close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0u, 0) == 0)
        return;
#endif
    DIR *open_files = opendir("/proc/self/fd"); /* Linux before 5.9 */
    for (struct dirent *entry; open_files && (entry = readdir(open_files)); )
        if (atoi(entry->d_name) >= (int)first && atoi(entry->d_name) != dirfd(open_files))
            close(atoi(entry->d_name));
}

/* The agent outlives this build: what belongs to the build (MAKEFLAGS, UNCACHED_ERR_FD, LD_PRELOAD,
 * the guard) must not go along. */
static void reduce_environment(const char *socket_path)
{
    static const char *const wanted[] = {
        "HOME=", "USER=", "LOGNAME=", "PATH=", "TMPDIR=", "XDG_", "ZCC_", "LANG=", "VIRTUAL_ENV=",
    };
    char **kept = environ;
    for (char **entry = environ; *entry; entry++) {
        size_t i = 0;
        while (i < COUNT(wanted) && strncmp(*entry, wanted[i], strlen(wanted[i])) != 0)
            i++;
        if (i < COUNT(wanted))
            *kept++ = *entry;
    }
    *kept = NULL;
    unsetenv("ZCC_GUARD");
    unsetenv("ZCC_FALLBACK");
    setenv("ZCC_SOCKET", socket_path, 1);
    setenv("ZCC_READY_FD", "3", 1);
}

/* In the second child: leaves the build's terminal, directory, streams and descriptors behind. */
static _Noreturn void become_agent(int ready, const char *socket_path)
{
    char *argv[] = {(char *)"zcc-agent", (char *)"serve", NULL};
    sigset_t none;
    int null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    if (ready == 3)
        fcntl(ready, F_SETFD, 0);
    else
        dup2(ready, 3);
    close_from(4);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    reduce_environment(socket_path);
    if (chdir("/") == 0)
        exec_own("zcc-agent", argv);
    _exit(127);
}

/* Under the lock. True when the agent says that it listens. */
static int spawn_agent(const char *socket_path, long patience_ms)
{
    int ready[2], is_ready = 0;
    char byte, *path = absolute(socket_path);
    if (!path || pipe2(ready, O_CLOEXEC) != 0)
        return 0;
    ready[0] = lift(ready[0]);
    ready[1] = lift(ready[1]);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0)
            become_agent(ready[1], path);
        _exit(0);
    }
    close(ready[1]);
    if (child > 0) {
        struct pollfd readable = {.fd = ready[0], .events = POLLIN};
        (void)waitpid(child, NULL, 0);
        is_ready = poll(&readable, 1, (int)patience_ms) == 1 && read(ready[0], &byte, 1) == 1;
    }
    close(ready[0]);
    free(path);
    return is_ready;
}

static int has_failed_lately(const struct place *place, const char *mark)
{
    struct stat status;
    return fstatat(place->directory, mark, &status, 0) == 0
        && labs((long)(time(NULL) - status.st_mtime)) < RETRY_START_S;
}

static int start_agent(const struct place *place, long patience_ms)
{
    char lock_name[NAME_MAX + 8], mark[NAME_MAX + 8];
    int fd = -1;
    snprintf(lock_name, sizeof lock_name, "%s.lock", place->stem);
    snprintf(mark, sizeof mark, "%s.failed", place->stem);
    if (has_failed_lately(place, mark))
        return -1;
    int lock = lift(openat(place->directory, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                           0600));
    long start_ms = patience_ms < START_MS ? patience_ms : START_MS;
    if (lock >= 0 && lock_within(lock, start_ms) == 0) {
        fd = connect_agent(place, patience_ms); /* who had the lock before us has started it */
        if (fd < 0 && !has_failed_lately(place, mark)) {
            if (spawn_agent(place->path, start_ms))
                fd = connect_agent(place, patience_ms);
            if (fd < 0) {
                int failed = openat(place->directory, mark,
                                    O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                (void)futimens(failed, NULL);
                close(failed);
            }
        }
    }
    if (lock >= 0)
        close(lock);
    return fd;
}

static void reach_agent(void)
{
    struct place place;
    long patience_ms = deadline_ms();
    const char *problem = find_place(&place);
    if (problem)
        fall_back(problem);
    agent = connect_agent(&place, patience_ms);
    if (agent < 0 && (errno == ENOENT || errno == ECONNREFUSED))
        agent = start_agent(&place, patience_ms);
    if (agent < 0)
        fall_back("no agent answers, and none could be started");
    close(place.directory);
}

/* ---- the request ---- */

static char *put(char *at, uint64_t value, int bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        *at++ = (char)value;
    return at;
}

static uint64_t get(const char *at, int bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | (unsigned char)at[bytes];
    return value;
}

static void send_request(void)
{
    const char *cwd = getcwd(NULL, 0);
    const char *head[] = {cwd, named, executable ? executable : ""};
    char **lists[] = {call_argv + (call_argv[0] != NULL), environ};
    uint32_t counts[2] = {0, 0};
    struct winsize window = {0}, unused;
    mode_t mask = umask(0);
    umask(mask);
    if (!cwd)
        fall_back("the current directory has no path");
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0)
        flags |= STDERR_IS_TERMINAL;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &unused) == 0)
        flags |= STDIN_IS_TERMINAL;
    size_t size = 28;
    for (size_t i = 0; i < COUNT(head); i++)
        size += strlen(head[i]) + 1;
    for (size_t i = 0; i < COUNT(lists); i++)
        for (; lists[i][counts[i]]; counts[i]++)
            size += strlen(lists[i][counts[i]]) + 1;
    char *request = size <= MAX_REQUEST ? malloc(size) : NULL, *at = request;
    if (!request)
        fall_back("the command line and environment are too large");
    at = put(stpcpy(at, "ZCC\1"), size - 8, 4);
    at = put(put(at, flags, 4), mask, 4);
    at = put(put(at, window.ws_row, 2), window.ws_col, 2);
    at = put(put(at, counts[0], 4), counts[1], 4);
    for (size_t i = 0; i < COUNT(head); i++)
        at = stpcpy(at, head[i]) + 1;
    for (size_t i = 0; i < COUNT(lists); i++)
        for (uint32_t j = 0; j < counts[i]; j++)
            at = stpcpy(at, lists[i][j]) + 1;
    for (at = request; size > 0; ) {
        ssize_t sent = send(agent, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            fall_back("the agent does not take the request");
        at += sent;
        size -= (size_t)sent;
    }
    free(request);
}

/* ---- temporaries: outputs appear by rename, and nothing stays behind ---- */

struct output { char *path, *temporary; uint64_t size; mode_t mode; };

static struct output *outputs;
static volatile sig_atomic_t output_count; /* of those that may have a temporary */
static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};

static void remove_temporaries(void)
{
    for (int i = 0; i < output_count; i++)
        if (outputs[i].temporary)
            unlink(outputs[i].temporary);
}

static void on_deadly_signal(int number)
{
    remove_temporaries();
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_signals(void (*from)(int), void (*to)(int))
{
    for (size_t i = 0; i < COUNT(deadly); i++) {
        struct sigaction action;
        if (sigaction(deadly[i], NULL, &action) == 0 && action.sa_handler == from) {
            action.sa_handler = to;
            sigaction(deadly[i], &action, NULL);
        }
    }
}

static _Noreturn void abandon_result(const char *reason)
{
    remove_temporaries();
    output_count = 0;
    watch_signals(on_deadly_signal, SIG_DFL);
    fall_back(reason);
}

/* ---- replies ---- */

static char buffer[BUFFER_BYTES];
static size_t buffer_start, buffer_end;

/* Up to `limit` bytes of the reply, at least one; *at points at them until the next call. */
static size_t receive(const char **at, uint64_t limit)
{
    while (buffer_start == buffer_end) {
        ssize_t got = recv(agent, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abandon_result(got == 0 ? "the agent went away before it answered"
                           : errno == EAGAIN ? "the agent is silent" : "the agent is lost");
        buffer_start = 0;
        buffer_end = (size_t)got;
    }
    size_t size = buffer_end - buffer_start;
    if (size > limit)
        size = (size_t)limit;
    *at = buffer + buffer_start;
    buffer_start += size;
    return size;
}

static void receive_all(char *to, size_t size)
{
    for (const char *at; size > 0; ) {
        size_t got = receive(&at, size);
        memcpy(to, at, got);
        to += got;
        size -= got;
    }
}

static uint64_t receive_number(int bytes)
{
    char number[8];
    receive_all(number, (size_t)bytes);
    return get(number, bytes);
}

/* `size` bytes of the reply and a NUL. */
static char *receive_text(size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        abandon_result("not enough memory for the agent's answer");
    receive_all(text, size);
    text[size] = '\0';
    return text;
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

/* A new file beside output `number`'s path; its name is on record before it exists. */
static int open_temporary(int number)
{
    struct output *output = &outputs[number];
    const char *name = basename_of(output->path);
    for (int attempt = 0; attempt < 100; attempt++) {
        char *temporary;
        if (asprintf(&temporary, "%.*s.%.200s.zcc-%ld-%d", (int)(name - output->path), output->path,
                     name, (long)getpid(), number + attempt * MAX_FILES) < 0)
            return -1;
        output->temporary = temporary;
        output_count = number + 1;
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      output->mode);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static void receive_file(int number)
{
    int fd = open_temporary(number);
    uint64_t left = outputs[number].size;
    if (fd < 0)
        abandon_result("an output cannot be created");
    for (const char *at; left > 0; ) {
        size_t got = receive(&at, left);
        if (write_all(fd, at, got) != 0)
            abandon_result("an output cannot be written");
        left -= got;
    }
    if (close(fd) != 0)
        abandon_result("an output cannot be written");
}

/* The heads of a result's files; returns how many bytes of payload head and contents are. */
static uint64_t receive_heads(uint32_t files, uint64_t length)
{
    uint64_t used = 16;
    outputs = calloc(files + 1, sizeof *outputs);
    if (!outputs)
        abandon_result("not enough memory for the agent's answer");
    for (uint32_t i = 0; i < files; i++) {
        size_t path_length = (size_t)receive_number(4);
        outputs[i].mode = (mode_t)receive_number(4) & 0777;
        outputs[i].size = receive_number(8);
        if (path_length == 0 || path_length >= PATH_MAX || outputs[i].size > length)
            abandon_result("the agent's answer makes no sense");
        outputs[i].path = receive_text(path_length);
        if (strlen(outputs[i].path) != path_length)
            abandon_result("the agent's answer makes no sense");
        used += 16 + path_length + outputs[i].size;
    }
    return used;
}

static _Noreturn void place_result(uint32_t length)
{
    uint32_t status = (uint32_t)receive_number(4), files = (uint32_t)receive_number(4);
    size_t sizes[2];
    sizes[0] = (size_t)receive_number(4);
    sizes[1] = (size_t)receive_number(4);
    if (status > 255 || files > MAX_FILES || sizes[0] + sizes[1] > MAX_MESSAGES
        || receive_heads(files, length) + sizes[0] + sizes[1] != length)
        abandon_result("the agent's answer makes no sense");
    char *messages[2] = {receive_text(sizes[0]), receive_text(sizes[1])};
    watch_signals(SIG_DFL, on_deadly_signal);
    for (uint32_t i = 0; i < files; i++)
        receive_file((int)i);
    for (uint32_t i = 0; i < files; i++) {
        if (rename(outputs[i].temporary, outputs[i].path) != 0)
            abandon_result("an output cannot be put in its place");
        outputs[i].temporary = NULL;
    }
    watch_signals(on_deadly_signal, SIG_DFL);
    if (write_all(STDOUT_FILENO, messages[0], sizes[0]) == 0)
        (void)write_all(STDERR_FILENO, messages[1], sizes[1]);
    _exit((int)status);
}

static _Noreturn void run_as_told(uint32_t length)
{
    char *path = receive_text(length);
    const char *name = path + strlen(path) + 1;
    if (length < 4 || path[length - 1] != '\0' || strlen(path) + strlen(name) + 2 != length)
        fall_back("the agent's answer makes no sense");
    if (fcntl(agent, F_DUPFD, SLOT_FD) >= 0)
        close(agent);
    else
        fcntl(agent, F_SETFD, 0); /* RLIMIT_NOFILE is below SLOT_FD */
    exec_compiler(path, name);
}

static _Noreturn void obey_agent(void)
{
    for (;;) {
        uint32_t kind = (uint32_t)receive_number(4), length = (uint32_t)receive_number(4);
        if (kind == RESULT && length >= 16)
            place_result(length);
        if (length > MAX_TEXT || kind < RUN || kind > FAIL || (kind == WAIT && length > 0))
            fall_back("the agent's answer makes no sense");
        if (kind == RUN)
            run_as_told(length);
        if (kind == FAIL) {
            say("zcc: %s", receive_text(length));
            _exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    learn_self();
    read_call(argc, argv);
    executable = find_program(flags & IS_DEFAULT ? default_compiler() : named);
    if (is_set("ZCC_DISABLE") || (!executable && !(flags & IS_DEFAULT)))
        run_locally();
    reach_agent();
    send_request();
    obey_agent();
}
