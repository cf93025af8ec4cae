"""The filters that ship, one a module."""
