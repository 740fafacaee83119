"""The load generator, on moq-rs: runs in moq-rs' own environment, needs nothing else."""
