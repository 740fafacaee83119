"""The `moqvox` command: one program, verbs loaded when they are asked for."""
