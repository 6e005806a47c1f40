"""Behaviour: what an agent does now against what it usually does, in numbers that people can follow."""
