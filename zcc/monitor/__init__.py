"""`zcc monitor`: one watcher of the farm's, and a page for any number of browsers (docs/guide/monitor.md)."""
