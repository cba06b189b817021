"""The transactional record: documents, chunks, generations, changes."""
