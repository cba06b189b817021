"""Models that others serve: one provider a file, over their official SDKs; what they share, one matter a file."""
