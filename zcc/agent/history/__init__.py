"""What is kept of calls that are over: numbers, builds, the last compile of each output."""
