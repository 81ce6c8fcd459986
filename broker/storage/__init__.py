"""The farm's disk as ccache's remote storage: by HTTP with tokens, and for members over their connection."""
