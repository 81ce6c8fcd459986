#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "call.h"
#include "program.h"
#include "start.h"

#define SLOT_FD 100 /* above what shell scripts use by number */
#define DEADLINE_MS 30000 /* the agent says WAIT every few seconds */

static long deadline_ms(void)
{
    const char *value = getenv("ZCC_DEADLINE_MS");
    char *end = NULL;
    long ms = value ? strtol(value, &end, 10) : 0;
    return ms > 0 && *end == '\0' && ms <= INT_MAX ? ms : DEADLINE_MS;
}

int lift(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return high;
}

int keep_for_compiler(int fd)
{
    int high = fcntl(fd, F_DUPFD, SLOT_FD);
    if (high >= 0)
        close(fd);
    else
        fcntl(fd, F_SETFD, 0); /* RLIMIT_NOFILE is below SLOT_FD */
    return high >= 0 ? high : fd;
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
    else if ((value = getenv("XDG_RUNTIME_DIR")) && *value == '/')
        length = snprintf(path, size, "%s/zcc/agent.sock", value);
    else {
        /* Homes are shared over the network, sockets are not. */
        rest = (value = getenv("XDG_STATE_HOME")) && *value == '/' ? "" : "/.local/state";
        if ((!*rest || ((value = getenv("HOME")) && *value == '/')) && uname(&host) == 0)
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
const char *find_place(struct place *place)
{
    char directory[PATH_MAX];
    struct stat status;
    if (choose_socket_path(place->path, sizeof place->path) != 0)
        return "no place for the agent's socket: set ZCC_SOCKET, or XDG_RUNTIME_DIR or HOME from / on";
    place->name = basename_of(place->path);
    size_t length = (size_t)(place->name - place->path);
    snprintf(directory, sizeof directory, "%.*s", length ? (int)length : 1, length ? place->path : ".");
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

int connect_agent(const struct place *place, long patience_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {patience_ms / 1000, patience_ms % 1000 * 1000};
    struct ucred peer;
    socklen_t size = sizeof peer;
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s", place->path);
    if (length >= (int)sizeof address.sun_path)
        length =
            snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", place->directory, place->name);
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

int reach_agent(void)
{
    struct place place;
    long patience_ms = deadline_ms();
    const char *problem = find_place(&place);
    if (problem)
        fall_back(problem);
    int agent = connect_agent(&place, patience_ms);
    if (agent < 0 && (errno == ENOENT || errno == ECONNREFUSED))
        agent = start_agent(&place, patience_ms);
    if (agent < 0)
        fall_back("no agent answers, and none could be started");
    close(place.directory);
    return agent;
}
