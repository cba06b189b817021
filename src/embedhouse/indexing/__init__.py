"""The write path: diff, embed, apply, flush, rebuild."""
