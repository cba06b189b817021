CREATE TABLE house (
    id TEXT PRIMARY KEY,
    created_at {float} NOT NULL
);

ALTER TABLE generation RENAME COLUMN index_folder TO index_name;

ALTER TABLE generation ADD COLUMN model TEXT DEFAULT '' NOT NULL;

ALTER TABLE generation ADD COLUMN precision TEXT DEFAULT '' NOT NULL;

ALTER TABLE generation ADD COLUMN store TEXT DEFAULT 'embedded' NOT NULL;

ALTER TABLE generation ADD COLUMN lexical_store TEXT DEFAULT '' NOT NULL;

ALTER TABLE generation ADD COLUMN created_at {float} DEFAULT '0' NOT NULL;

UPDATE generation SET
    model = (SELECT collection.model FROM collection WHERE collection.id = generation.collection_id),
    precision = (SELECT collection.precision FROM collection WHERE collection.id = generation.collection_id),
    created_at = (SELECT collection.created_at FROM collection WHERE collection.id = generation.collection_id);

ALTER TABLE collection DROP COLUMN model;

ALTER TABLE collection DROP COLUMN precision;

ALTER TABLE collection ADD COLUMN revision {int} DEFAULT '0' NOT NULL;

ALTER TABLE document ADD COLUMN namespace TEXT DEFAULT 'default' NOT NULL;

DROP INDEX document_by_id;

CREATE UNIQUE INDEX document_by_id ON document (collection_id, namespace, id);

ALTER TABLE change ADD COLUMN namespace TEXT DEFAULT 'default' NOT NULL;

ALTER TABLE change ADD COLUMN lease_owner TEXT;

ALTER TABLE change ADD COLUMN leased_until {float};

ALTER TABLE api_key ADD COLUMN namespaces TEXT DEFAULT '' NOT NULL;
