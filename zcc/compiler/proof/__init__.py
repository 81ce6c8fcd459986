"""The client's side of the proof."""
