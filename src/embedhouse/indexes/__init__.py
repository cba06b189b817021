"""What answers searches, one engine a file."""
