"""The doors. Each parses, awaits the pipeline and renders; no door holds a rule or a store."""
