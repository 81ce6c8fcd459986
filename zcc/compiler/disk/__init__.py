"""What is known of the client's disk, and how long it holds."""
