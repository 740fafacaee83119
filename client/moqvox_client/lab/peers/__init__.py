"""A module per system under test: `python -m ... caller|server JOB`.

Those that need packages of their own run in an environment of their own, so they import
nothing of moqvox but `moqvox_client.lab.sides` and `.job`, which need only the standard library.
"""
