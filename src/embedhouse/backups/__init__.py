"""A whole house in one file, and back."""
