"""Command lines and environments of gcc and clang: what each word means."""
