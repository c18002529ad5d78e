"""Credentials: what a call proves who it is with."""
