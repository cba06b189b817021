"""HTTP: parse, call the house, render."""
