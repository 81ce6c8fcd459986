"""The farm in numbers, for Prometheus: counted as they come about, gathered when somebody asks."""
