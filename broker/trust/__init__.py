"""Who is believed, and what follows for nodes that are not."""
