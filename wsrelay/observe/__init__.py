"""Who connected to what, and how it ended."""
