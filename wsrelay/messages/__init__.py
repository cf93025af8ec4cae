"""``mode = messages``: whole messages, and the filters that see them."""
