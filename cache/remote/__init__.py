"""Stores on other machines' engines: what they hold is sealed, and what they say is checked."""
