"""The access policies that ship: who may come in, by another's word, a token or a password."""
