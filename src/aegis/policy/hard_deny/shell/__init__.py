"""How a shell reads a line: words, their expansion, pipes, redirections, nested shells; not what commands do."""
