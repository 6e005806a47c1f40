"""Spawned processes for hostile work: no inherited descriptors, no network, a deadline, a memory cap."""
