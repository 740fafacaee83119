"""MoQ sessions as pure state machines: bytes and verbs in, events and actions out."""
