"""One job: its sandbox, what it sees, writes, uses and leaves."""
