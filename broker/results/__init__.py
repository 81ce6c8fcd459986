"""What the farm remembers, and how it is held against a second run."""
