"""Tenants, their agents, keys and people; each process's picture of them, and how it stays fresh."""
