"""The kill switch: stops a scope at once, everywhere, and proves it by the order of the log."""
