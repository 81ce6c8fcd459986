"""The agent's end of the connection to the broker."""
