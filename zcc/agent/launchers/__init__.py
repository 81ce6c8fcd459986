"""Whoever calls: launchers and the command line, at the agent's socket."""
