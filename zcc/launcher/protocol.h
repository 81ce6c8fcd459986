/* Protocol, version 1, over a Unix stream socket, all numbers little endian. The other side is
 * zcc/agent/launchers/wire.py; the two change together.
 *
 *   Request  "ZCC\1", u32 length of what follows, u32 flags, u32 umask, u16 rows, u16 columns,
 *            u32 argc, u32 envc, then strings that each end in a NUL: physical cwd, compiler as
 *            named (empty: the default), path of the executable found (absolute; empty: none),
 *            argc arguments after the compiler, envc environment strings (all of them).
 *            At most 16 MiB follow. Flags: 1 stderr is a terminal (rows and columns are its size),
 *            2 stdin is a terminal, 4 called as zcc++, 8 the compiler was not named, 16 ccache
 *            has named the result. Bits 8 to 31: which build of the launcher this is.
 *   Reply    any number of messages u32 kind, u32 length of the payload, payload:
 *     RUN    (1) executable NUL argv[0] NUL. The compiler is exec'ed with the connection open: that
 *            is its slot, and the kernel gives it back.
 *     RESULT (2) i32 exit status, u32 files, u32 bytes of stdout, u32 bytes of stderr, for each
 *            file u32 length of path, u32 mode, u64 size, path; then stdout, stderr, the contents.
 *            Paths are the command's own words: a relative one is opened from the working directory.
 *            Bit 31 of a mode: the file exists, and the content is to be written into it.
 *     WAIT   (3) nothing: still at work, be patient.
 *     FAIL   (4) a message for the user: only under ZCC_FALLBACK=never or forbid.
 *     RESTART (5) nothing: this agent makes way, and its socket is gone; ask the next one.
 *     WITHDRAW (6) nothing: what could be made now is no answer to ccache; leave no object, and exit 0.
 *            Only where flag 16 was set. */
#pragma once

enum { RUN = 1, RESULT = 2, WAIT = 3, FAIL = 4, RESTART = 5, WITHDRAW = 6 };

#ifndef ZCC_BUILD
#define ZCC_BUILD 0 /* the package's build says */
#endif

#define INTO 0x80000000u /* of a mode */
#define MAX_REQUEST (16u << 20)   /* wire.py refuses more */
#define MAX_TEXT (64u << 10)      /* payload of RUN and FAIL */
#define MAX_MESSAGES (256u << 20) /* stdout and stderr together */
#define MAX_FILES 4096
