"""The shell: parse, call the house, render."""
