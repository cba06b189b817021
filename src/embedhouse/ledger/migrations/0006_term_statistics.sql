CREATE TABLE term_index (
    id {key} PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    entries {int} NOT NULL,
    length {int} NOT NULL
);

CREATE TABLE term_frequency (
    index_id {int} NOT NULL REFERENCES term_index (id) ON DELETE CASCADE,
    term {int} NOT NULL,
    entries {int} NOT NULL,
    PRIMARY KEY (index_id, term)
);

CREATE TABLE term_entry (
    index_id {int} NOT NULL REFERENCES term_index (id) ON DELETE CASCADE,
    entry_key {int} NOT NULL,
    namespace TEXT NOT NULL,
    length {int} NOT NULL,
    terms {blob} NOT NULL,
    PRIMARY KEY (index_id, entry_key, namespace)
);
