"""The watcher's side of events: the farm's present state made of them, its history, recordings and traces."""
