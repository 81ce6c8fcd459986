"""The farm's language and the user's side of it."""

__version__ = "0.1.0"
