"""What a call may do: the shipped refusals, and the tenants' own rules."""
