"""What no policy may allow: destructive and hostile code, read by syntax tree and run in a child."""
