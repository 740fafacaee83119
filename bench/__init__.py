"""Benchmarks: fan-out through a relay, one-to-one voice sessions, and what parts of moqvox cost."""
