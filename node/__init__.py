"""A worker machine: fetches inputs and toolchains, runs jobs in sandboxes, returns results."""
