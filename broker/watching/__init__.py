"""What happens on the farm, noted for whoever watches: the recorder, the feed of batches, and the watchers."""
