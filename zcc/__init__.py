"""The farm's language and the user's side of it."""

__version__ = "0.2.0"
