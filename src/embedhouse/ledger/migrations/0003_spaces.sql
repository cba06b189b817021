CREATE TABLE space (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    space TEXT NOT NULL,
    choice TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    frozen_at {float},
    tolerance {float} NOT NULL,
    recorded_at {float} NOT NULL,
    checked_at {float} NOT NULL
);

CREATE TABLE canary (
    fingerprint TEXT NOT NULL REFERENCES space (fingerprint) ON DELETE CASCADE,
    role TEXT NOT NULL,
    text_sha256 {blob} NOT NULL,
    vector {blob} NOT NULL,
    PRIMARY KEY (fingerprint, role, text_sha256)
);
