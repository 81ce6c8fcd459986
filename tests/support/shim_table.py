"""How each function that the shim shadows is called, in C."""

PROGRAM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <mntent.h>
#include <mqueue.h>
#include <nl_types.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#include <utmp.h>
#include <utmpx.h>
#include <wordexp.h>
extern char **environ;
/* What no header declares, or only in part of the builds. */
#define CALL(name) ((long (*)())dlsym(RTLD_DEFAULT, #name))
/* What leaves the process, in a child. */
#define RUN(call) do { if (!fork()) { call; _exit(0); } wait(0); } while (0)
static int visit() { return 0; }
static char buffer[16384], name[PATH_MAX];
static struct dirent **list;
static char *argv[] = {"true", 0};
static int flags;
/* A name in the same directory that is free. */
static char *beside(const char *path) { snprintf(name, sizeof name, "%s.XXXXXX", path); return name; }
static char *other(const char *path) { snprintf(name, sizeof name, "%s.other", path); return name; }
BODIES
int main(int count, char **words) {
    (void)count;
    CALLS
    return 0;
}
"""
# By the way that files are: P is the path.
FILES = {
    "open": "open(P, flags)", "__open": "CALL(__open)(P, 0)", "__open64": "CALL(__open64)(P, 0)",
    "open64": "open64(P, flags)", "openat": "openat(AT_FDCWD, P, flags)",
    "openat64": "openat64(AT_FDCWD, P, flags)", "__open_2": "CALL(__open_2)(P, 0)",
    "__open64_2": "CALL(__open64_2)(P, 0)", "__openat_2": "CALL(__openat_2)(AT_FDCWD, P, 0)",
    "__openat64_2": "CALL(__openat64_2)(AT_FDCWD, P, 0)", "creat": "creat(P, 0644)",
    "creat64": "creat64(P, 0644)",
    "fopen": 'fopen(P, "r")', "fopen64": 'fopen64(P, "r")', "_IO_fopen": 'CALL(_IO_fopen)(P, "r")',
    "freopen": 'freopen(P, "r", stdin)', "freopen64": 'freopen64(P, "r", stdin)',
    "setmntent": 'setmntent(P, "r")',
    "__setmntent": 'CALL(__setmntent)(P, "r")',
    "posix_spawn_file_actions_addopen": "posix_spawn_file_actions_t a; posix_spawn_file_actions_init(&a);"
    "posix_spawn_file_actions_addopen(&a, 9, P, O_RDONLY, 0)",
    "stat": "stat(P, (void *)buffer)", "stat64": "stat64(P, (void *)buffer)",
    "lstat": "lstat(P, (void *)buffer)",
    "lstat64": "lstat64(P, (void *)buffer)", "statfs": "statfs(P, (void *)buffer)",
    "statfs64": "statfs64(P, (void *)buffer)", "__statfs": "CALL(__statfs)(P, buffer)",
    "statvfs": "statvfs(P, (void *)buffer)", "statvfs64": "statvfs64(P, (void *)buffer)",
    "utime": "utime(P, 0)", "utimes": "utimes(P, 0)", "lutimes": "lutimes(P, 0)",
    "__xstat": "CALL(__xstat)(1, P, buffer)", "__xstat64": "CALL(__xstat64)(1, P, buffer)",
    "__lxstat": "CALL(__lxstat)(1, P, buffer)", "__lxstat64": "CALL(__lxstat64)(1, P, buffer)",
    "__fxstatat": "CALL(__fxstatat)(1, AT_FDCWD, P, buffer, 0)",
    "__fxstatat64": "CALL(__fxstatat64)(1, AT_FDCWD, P, buffer, 0)",
    "fstatat": "fstatat(AT_FDCWD, P, (void *)buffer, 0)",
    "fstatat64": "fstatat64(AT_FDCWD, P, (void *)buffer, 0)",
    "utimensat": "utimensat(AT_FDCWD, P, 0, 0)", "futimesat": "futimesat(AT_FDCWD, P, 0)",
    "statx": "statx(AT_FDCWD, P, 0, STATX_ALL, (void *)buffer)", "access": "access(P, R_OK)",
    "eaccess": "eaccess(P, R_OK)", "euidaccess": "euidaccess(P, R_OK)",
    "faccessat": "faccessat(AT_FDCWD, P, R_OK, AT_EACCESS)", "chmod": "chmod(P, 0644)",
    "lchmod": "lchmod(P, 0644)",
    "fchmodat": "fchmodat(AT_FDCWD, P, 0644, 0)", "chown": "chown(P, -1, -1)", "lchown": "lchown(P, -1, -1)",
    "fchownat": "fchownat(AT_FDCWD, P, -1, -1, 0)", "truncate": "truncate(P, 1)",
    "truncate64": "truncate64(P, 1)",
    "readlink": "readlink(P, buffer, 9)", "readlinkat": "readlinkat(AT_FDCWD, P, buffer, 9)",
    "__readlink_chk": "CALL(__readlink_chk)(P, buffer, 9, 99)",
    "__readlinkat_chk": "CALL(__readlinkat_chk)(AT_FDCWD, P, buffer, 9, 99)", "realpath": "realpath(P, buffer)",
    "__realpath_chk": "CALL(__realpath_chk)(P, buffer, sizeof buffer)",
    "canonicalize_file_name": "canonicalize_file_name(P)", "getxattr": 'getxattr(P, "user.a", buffer, 9)',
    "lgetxattr": 'lgetxattr(P, "user.a", buffer, 9)', "listxattr": "listxattr(P, buffer, 99)",
    "llistxattr": "llistxattr(P, buffer, 99)", "removexattr": 'removexattr(P, "user.a")',
    "lremovexattr": 'lremovexattr(P, "user.a")', "setxattr": 'setxattr(P, "user.a", "b", 1, 0)',
    "lsetxattr": 'lsetxattr(P, "user.a", "b", 1, 0)', "pathconf": "pathconf(P, _PC_NAME_MAX)",
    "name_to_handle_at": "struct file_handle *h = (void *)buffer; h->handle_bytes = 128;"
    "int mount; name_to_handle_at(AT_FDCWD, P, h, &mount, 0)",
    "mkdir": "mkdir(P, 0755)", "mkdirat": "mkdirat(AT_FDCWD, P, 0755)", "mkfifo": "mkfifo(P, 0644)",
    "mkfifoat": "mkfifoat(AT_FDCWD, P, 0644)", "mknod": "mknod(P, S_IFREG, 0)",
    "mknodat": "mknodat(AT_FDCWD, P, S_IFREG, 0)",
    "__xmknod": "unsigned long d = 0; CALL(__xmknod)(0, P, S_IFREG, &d)",
    "__xmknodat": "unsigned long d = 0; CALL(__xmknodat)(0, AT_FDCWD, P, S_IFREG, &d)",
    "symlink": 'symlink("x", P)', "symlinkat": 'symlinkat("x", AT_FDCWD, P)', "unlink": "unlink(P)",
    "unlinkat": "unlinkat(AT_FDCWD, P, 0)", "remove": "remove(P)", "rename": "rename(P, other(P))",
    "renameat": "renameat(AT_FDCWD, P, AT_FDCWD, other(P))",
    "renameat2": "renameat2(AT_FDCWD, P, AT_FDCWD, other(P), 0)", "link": "link(P, other(P))",
    "linkat": "linkat(AT_FDCWD, P, AT_FDCWD, other(P), 0)", "dlopen": "dlopen(P, RTLD_NOW)",
    "ftok": "ftok(P, 1)", "inotify_add_watch": "inotify_add_watch(9, P, IN_OPEN)",
    "fanotify_mark": "fanotify_mark(9, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, P)", "revoke": "revoke(P)",
    "catopen": "catopen(P, 0)", "utmpname": "utmpname(P)", "utmpxname": "utmpxname(P)",
    "updwtmp": "struct utmp u = {0}; updwtmp(P, &u)", "updwtmpx": "struct utmpx u = {0}; updwtmpx(P, &u)",
    "glob": "glob_t g; glob(P, 0, 0, &g)", "glob64": "glob64_t g; glob64(P, 0, 0, &g)",
    "wordexp": "wordexp_t w; wordexp(P, &w, 0)", "dlmopen": "dlmopen(LM_ID_NEWLM, P, RTLD_NOW)",
    "posix_spawn_file_actions_addchdir_np": "posix_spawn_file_actions_t a; posix_spawn_file_actions_init(&a);"
    "posix_spawn_file_actions_addchdir_np(&a, P)",
}  # fmt: skip
DIRECTORIES = {
    "opendir": "opendir(P)", "scandir": "scandir(P, &list, 0, 0)",
    "scandir64": "scandir64(P, (void *)&list, 0, 0)", "scandirat": "scandirat(AT_FDCWD, P, &list, 0, 0)",
    "scandirat64": "scandirat64(AT_FDCWD, P, (void *)&list, 0, 0)", "fdopendir": "fdopendir(open(P, flags))",
    "getdents64": "CALL(getdents64)(open(P, flags), buffer, 999)",
    "getdirentries": "long at = 0; CALL(getdirentries)(open(P, flags), buffer, 999, &at)",
    "getdirentries64": "long at = 0; CALL(getdirentries64)(open(P, flags), buffer, 999, &at)",
    "chdir": "chdir(P)", "rmdir": "rmdir(P)",
    "ftw": "ftw(P, (void *)visit, 9)", "ftw64": "ftw64(P, (void *)visit, 9)",
    "nftw": "nftw(P, (void *)visit, 9, 0)", "nftw64": "nftw64(P, (void *)visit, 9, 0)",
    "fts_open": "char *paths[] = {(char *)P, 0}; CALL(fts_open)(paths, FTS_PHYSICAL, 0)",
    "fts64_open": "char *paths[] = {(char *)P, 0}; CALL(fts64_open)(paths, FTS_PHYSICAL, 0)",
}  # fmt: skip
# Where a program is.
PROGRAMS = {
    "execve": "RUN(execve(P, argv, environ))", "execv": "RUN(execv(P, argv))", "execvp": "RUN(execvp(P, argv))",
    "execvpe": "RUN(execvpe(P, argv, environ))", "execl": 'RUN(execl(P, "true", (char *)0))',
    "execlp": 'RUN(execlp(P, "true", (char *)0))', "execle": 'RUN(execle(P, "true", (char *)0, environ))',
    "execveat": "RUN(execveat(AT_FDCWD, P, argv, environ, 0))",
    "fexecve": "RUN(fexecve(open(P, O_RDONLY), argv, environ))",
    "posix_spawn": "posix_spawn(0, P, 0, 0, argv, environ); wait(0)",
    "posix_spawnp": "posix_spawnp(0, P, 0, 0, argv, environ); wait(0)",
    "pidfd_spawn": "int fd; CALL(pidfd_spawn)(&fd, P, 0, 0, argv, environ)",
    "pidfd_spawnp": "int fd; CALL(pidfd_spawnp)(&fd, P, 0, 0, argv, environ)",
    "system": "system(P)", "popen": 'popen(P, "r")', "_IO_popen": 'CALL(_IO_popen)(P, "r")',
}  # fmt: skip
# Names that the function makes up from the path.
BESIDE = {
    "mkstemp": "mkstemp(beside(P))", "mkstemp64": "mkstemp64(beside(P))", "mkostemp": "mkostemp(beside(P), 0)",
    "mkostemp64": "mkostemp64(beside(P), 0)", "mkstemps": "mkstemps(beside(P), 0)",
    "mkstemps64": "mkstemps64(beside(P), 0)", "mkostemps": "mkostemps(beside(P), 0, 0)",
    "mkostemps64": "mkostemps64(beside(P), 0, 0)", "mkdtemp": "mkdtemp(beside(P))",
    "mktemp": "mktemp(beside(P))",
    "tempnam": 'tempnam(P, "x")',
}  # fmt: skip
# What names no path: the function's own name is the record.
NAMELESS = {
    "tmpnam": "tmpnam(buffer)", "tmpnam_r": "tmpnam_r(buffer)", "getpwnam": 'CALL(getpwnam)("root")',
    "getpwuid": "CALL(getpwuid)(0)",
    "getpwuid_r": "CALL(getpwuid_r)(0, buffer, buffer + 999, 999, buffer + 2000)",
    "getgrnam": 'CALL(getgrnam)("root")', "getgrgid": "CALL(getgrgid)(0)", "getlogin": "getlogin()",
    "getservbyname": 'CALL(getservbyname)("http", "tcp")', "shm_unlink": 'shm_unlink("/zcc-none")',
    "sem_unlink": 'sem_unlink("/zcc-none")', "mq_unlink": 'mq_unlink("/zcc-none")',
    "sem_open": 'sem_open("/zcc-none", 0)', "shm_open": 'shm_open("/zcc-none", O_RDONLY, 0)',
    "mq_open": 'mq_open("/zcc-none", O_RDONLY)', "__mq_open_2": 'CALL(__mq_open_2)("/zcc-none", 0)',
    "localtime": "time_t t = 0; localtime(&t)", "localtime_r": "time_t t = 0; struct tm m; localtime_r(&t, &m)",
    "ctime": "time_t t = 0; ctime(&t)", "ctime_r": "time_t t = 0; ctime_r(&t, buffer)",
    "mktime": "struct tm m = {0}; mktime(&m)", "timelocal": "struct tm m = {0}; CALL(timelocal)(&m)",
}  # fmt: skip
UNTRIED = {
    "ask name services, in the form of those that are tried": """
        __getlogin_r_chk getaddrinfo getaliasbyname getaliasbyname_r getaliasent getaliasent_r getdate getfsent
        getfsfile getfsspec getgrent getgrent_r getgrgid_r getgrnam_r getgrouplist gethostbyaddr gethostbyaddr_r
        gethostbyname gethostbyname2 gethostbyname2_r gethostbyname_r gethostent gethostent_r gethostid
        getlogin_r
        getnameinfo getnetbyaddr getnetbyaddr_r getnetbyname getnetbyname_r getnetent getnetent_r getpass
        getprotobyname getprotobyname_r getprotobynumber getprotobynumber_r getprotoent getprotoent_r getpwent
        getpwent_r getpwnam_r getrpcbyname getrpcbyname_r getrpcbynumber getrpcbynumber_r getrpcent getrpcent_r
        getservbyname_r getservbyport getservbyport_r getservent getservent_r getsgent getsgent_r getsgnam
        getsgnam_r getspent getspent_r getspnam getspnam_r getttyent getttynam getusershell getutent getutxent
        initgroups innetgr rcmd rcmd_af rexec rexec_af ruserok ruserok_af setnetgrent""",
    "tried in unit/node/test_shim.py and test_shim_calls.py": """
        fchdir fork __fork _Fork getenv secure_getenv __secure_getenv pthread_create thrd_create sigaction
        __sigaction signal bsd_signal ssignal sysv_signal __sysv_signal sigset sigprocmask pthread_sigmask
        socket syscall""",
    "take what only libc's own parts have": "_IO_file_fopen _IO_file_open _IO_proc_open clone __clone",
    "in no libc here": """
        getdents openat2 uselib posix_spawn_file_actions_addchdir posix_spawn_file_actions_addfchdir
        posix_spawn_file_actions_addfchdir_np""",
}  # fmt: skip
TABLES = (FILES, DIRECTORIES, PROGRAMS, BESIDE, NAMELESS)
