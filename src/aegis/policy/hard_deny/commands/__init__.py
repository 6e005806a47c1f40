"""What each command does, one module for each family; `table` finds the family by the command's name."""
