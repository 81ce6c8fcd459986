"""Jobs under neutral paths and names, so that checkouts share them."""
