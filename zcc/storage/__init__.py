"""`ccache-storage-zcc`: what ccache starts to reach a farm's storage."""
