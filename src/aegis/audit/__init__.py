"""The audit log: rows, canonical bytes, tree, notes, receipts, sequencer, verifier."""
