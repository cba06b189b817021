"""Vector caches: (fingerprint, role, SHA-256 of the text's bytes) -> vector."""
