"""Which job goes where, and for how long. Pure."""
