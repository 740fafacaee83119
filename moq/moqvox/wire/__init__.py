"""Bytes to messages and back, without state, clock or I/O."""
