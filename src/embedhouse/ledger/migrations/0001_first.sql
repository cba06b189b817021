CREATE TABLE collection (
    id {key} PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    precision TEXT NOT NULL,
    created_at {float} NOT NULL
);

CREATE TABLE generation (
    id {key} PRIMARY KEY,
    collection_id {int} NOT NULL REFERENCES collection (id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    space TEXT NOT NULL,
    chunking TEXT NOT NULL,
    lexical TEXT NOT NULL,
    index_folder TEXT NOT NULL,
    keep_changes_after {int},
    vector_sum {blob},
    vector_count {int} DEFAULT '0' NOT NULL
);

CREATE TABLE document (
    pk {key} PRIMARY KEY,
    collection_id {int} NOT NULL REFERENCES collection (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    metadata TEXT NOT NULL,
    content_hash {blob} NOT NULL,
    updated_at {float} NOT NULL
);

CREATE UNIQUE INDEX document_by_id ON document (collection_id, id);

CREATE TABLE chunk (
    key {ever_larger_key},
    generation_id {int} NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    document_pk {int} NOT NULL REFERENCES document (pk) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    start {int} NOT NULL,
    "end" {int} NOT NULL,
    text TEXT NOT NULL,
    headings TEXT NOT NULL,
    context TEXT NOT NULL,
    hash {blob} NOT NULL
);

CREATE INDEX chunk_by_document ON chunk (document_pk, generation_id, ordinal);

CREATE INDEX chunk_by_generation ON chunk (generation_id, key);

CREATE TABLE change (
    seq {ever_larger_key},
    generation_id {int} NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    chunk_key {int} NOT NULL,
    action TEXT NOT NULL,
    state INTEGER DEFAULT '0' NOT NULL
);

CREATE INDEX change_by_state ON change (generation_id, state, seq);

CREATE TABLE dead_letter (
    id {key} PRIMARY KEY,
    generation_id {int} NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
    chunk_key {int} NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at {float} NOT NULL
);

CREATE UNIQUE INDEX dead_letter_by_chunk ON dead_letter (generation_id, chunk_key);
