"""The toolchains of a node."""
