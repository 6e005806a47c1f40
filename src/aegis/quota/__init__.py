"""Limits: requests a second, daily and monthly caps, money; and the one trip to the bucket store that a call makes."""
