"""What the agent decides, without a socket, a clock or a disk."""
