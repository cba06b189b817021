"""One reader a file format; each is imported when the first file of its format is read."""
