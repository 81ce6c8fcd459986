"""Tiers behind the farm's cache: engines of others that hold what one broker's disk cannot."""
