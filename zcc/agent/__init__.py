"""The user's own process: analyses compiles, hands them to the farm, rations local slots."""
