CREATE TABLE build (
    generation_id {int} PRIMARY KEY REFERENCES generation (id) ON DELETE CASCADE,
    stage TEXT NOT NULL,
    copies_chunks INTEGER NOT NULL,
    built_upto {int} NOT NULL,
    documents {int} NOT NULL,
    total {int} NOT NULL,
    chunks {int} NOT NULL,
    tokens {int} NOT NULL,
    busy_share {float} NOT NULL,
    shadow_share {float} NOT NULL,
    traffic_share {float} NOT NULL,
    started_at {float} NOT NULL,
    busy_s {float} NOT NULL,
    finished_at {float},
    error TEXT NOT NULL
);

CREATE TABLE shadow_query (
    id {key} PRIMARY KEY,
    generation_id {int} NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    asked_at {float} NOT NULL,
    query TEXT NOT NULL,
    mode TEXT NOT NULL,
    overlap {float} NOT NULL,
    rank_correlation {float},
    live_ms {float} NOT NULL,
    shadow_ms {float} NOT NULL,
    live_ids TEXT NOT NULL,
    shadow_ids TEXT NOT NULL
);

CREATE INDEX shadow_query_by_generation ON shadow_query (generation_id, overlap)
