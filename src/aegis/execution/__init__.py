"""Stage 8's capability: runs an allowed action on its real target, with credentials that no agent sees."""
