"""The `zcc` subcommands, one file a group."""
