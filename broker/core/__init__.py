"""What the broker decides of jobs and sessions, without a socket, a clock or a disk."""
