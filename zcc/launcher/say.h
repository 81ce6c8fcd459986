/* Our own words: on the compiler's streams only where no compiler speaks. */
#pragma once

/* One line, printf's way. Goes to UNCACHED_ERR_FD if there is one, else to stderr. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
