"""The demo: a scripted agent against real targets, through the doors that everybody uses."""
