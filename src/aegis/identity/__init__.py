"""Who asks: credentials, roles, sign-on, sessions. Knows nothing of what is asked for."""
