"""Reads command lines, sources and compilers: what one compile is and what it reads."""
