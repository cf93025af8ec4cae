"""Sessions: a client leg, an upstream leg, and the pump between them."""
