"""Inspection: what a call's words, shape, tool and results give away. Pure functions over bounded text."""
