"""Readers: files and folders to documents."""
