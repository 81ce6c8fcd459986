"""What the command line asks a running agent."""
