"""Generations: planned, built beside the live one, shadowed, promoted, rolled back, dropped."""
