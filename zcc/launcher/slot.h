/* The bound on compilers at a time that holds while no agent rations them. */
#pragma once

/* Waits for one of the user's local slots, which the compiler then holds until it ends, and gives up while it is
 * stopped. Comes back without one where nothing can be locked: a build is slower then, never stuck. */
void take_slot(void);
