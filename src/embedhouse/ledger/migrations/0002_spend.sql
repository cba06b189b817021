CREATE TABLE usage (
    id {key} PRIMARY KEY,
    day {int} NOT NULL,
    request_id TEXT NOT NULL,
    caller TEXT NOT NULL,
    collection TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    lane TEXT NOT NULL,
    started_at {float} NOT NULL,
    ended_at {float} NOT NULL,
    items {int} NOT NULL,
    cached_items {int} NOT NULL,
    tokens {int} NOT NULL,
    unpriced_tokens {int} NOT NULL,
    requests {int} NOT NULL,
    retries {int} NOT NULL,
    seconds {float} NOT NULL,
    nano_usd {int} NOT NULL
);

CREATE UNIQUE INDEX usage_by_account ON usage (day, request_id, caller, collection, provider, model, lane);

CREATE TABLE api_key (
    id {key} PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sha256 {blob} NOT NULL,
    hint TEXT NOT NULL,
    created_at {float} NOT NULL
);
