"""Settings in files: what may stand there, where it was found, and how it is changed."""
