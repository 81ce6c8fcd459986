"""What several tests use: worlds, machines, other programs."""
