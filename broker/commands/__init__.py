"""The subcommands of zcc-broker."""
