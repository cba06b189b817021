CREATE INDEX chunk_by_hash ON chunk (hash, generation_id);
