"""The farm's one meeting point: authenticates, schedules, relays."""
