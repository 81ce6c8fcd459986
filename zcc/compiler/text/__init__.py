"""What stands in a source, read without a compiler."""
