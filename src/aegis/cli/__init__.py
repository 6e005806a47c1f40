"""Commands for people; each works offline or talks to the API."""
