"""Blobs and results on disk. Knows nothing of what a job means, nor of sockets."""
