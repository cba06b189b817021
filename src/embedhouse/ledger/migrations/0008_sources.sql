CREATE TABLE source_binding (
    id {key} PRIMARY KEY,
    collection_id {int} NOT NULL REFERENCES collection (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    settings TEXT NOT NULL,
    mark TEXT NOT NULL,
    created_at {float} NOT NULL,
    last_run_at {float},
    last_outcome TEXT NOT NULL,
    last_message TEXT NOT NULL
);

CREATE UNIQUE INDEX source_binding_by_name ON source_binding (collection_id, name);

CREATE TABLE source_version (
    source_id {int} NOT NULL REFERENCES source_binding (id) ON DELETE CASCADE,
    document_id TEXT NOT NULL,
    version {int},
    "partition" {int} NOT NULL,
    "offset" {int} NOT NULL,
    sent_at_ms {int} NOT NULL,
    PRIMARY KEY (source_id, document_id)
);

CREATE TABLE source_dead_letter (
    id {key} PRIMARY KEY,
    source_id {int} NOT NULL REFERENCES source_binding (id) ON DELETE CASCADE,
    topic TEXT NOT NULL,
    "partition" {int} NOT NULL,
    "offset" {int} NOT NULL,
    document_id TEXT NOT NULL,
    place TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at {float} NOT NULL
);

CREATE UNIQUE INDEX source_dead_letter_by_place ON source_dead_letter (source_id, topic, "partition", "offset", place);
