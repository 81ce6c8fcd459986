/* What `-march=native` depends on. */
#pragma once

/* Prints it; the exit status: 1 where it cannot be told. */
int print_processor(void);
