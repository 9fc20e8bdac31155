"""The built-in methods, found through the same entry points as anybody's."""
