"""What a node decides of its leases, without a socket, a clock or a disk."""
