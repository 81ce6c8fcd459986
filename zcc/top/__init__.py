"""The farm in a terminal: `zcc top`."""
