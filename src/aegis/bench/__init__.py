"""The project's own benchmark: what Aegis costs beside the floor that this machine has."""
