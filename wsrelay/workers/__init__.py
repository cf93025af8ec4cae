"""``workers = N``: a parent that supervises, and processes that relay."""
