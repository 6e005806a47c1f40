"""One file a process role: straight-line construction, each failure says what was being built."""
