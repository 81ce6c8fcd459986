"""Which files a compile can read."""
