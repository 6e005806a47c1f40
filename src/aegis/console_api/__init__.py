"""The control API: what people and their programs set up, stop, approve and read. One request, one transaction."""
