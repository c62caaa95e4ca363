-- Everything a hub knows besides the bytes of its blobs. Moments are milliseconds since 1970, UTC.

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    realname TEXT NOT NULL,
    admin INTEGER NOT NULL,
    password_hash TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
);

-- Failed logins of the last minutes, shared by all workers. Who tried is kept as a hash: people type passwords into
-- the wrong field.
CREATE TABLE failed_logins (
    address TEXT NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX failed_logins_address ON failed_logins (address, at);

-- The first component of a repository's name.
CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
);

CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespaces (id),
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
);
CREATE INDEX repositories_namespace ON repositories (namespace_id);
CREATE INDEX repositories_updated ON repositories (updated);

-- One row for each file under blobs/. A blob without a repository has no file for long.
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;

-- Which repository may show which blob.
CREATE TABLE repository_blobs (
    repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest TEXT NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_digest ON repository_blobs (digest);

CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    body BLOB NOT NULL,
    image_size INTEGER NOT NULL,   -- manifest + everything it names, each as often as it is named
    module_digest TEXT,            -- the wasm module, where a layer is one
    artifact_type TEXT,
    subject TEXT,
    annotations TEXT NOT NULL,     -- JSON object
    words TEXT NOT NULL,           -- what search finds besides names
    pushed_by TEXT,
    created INTEGER NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;

-- Blobs and manifests that a manifest names. The blobs cannot be deleted before it; the manifests of an index can, as in
-- other registries: who deletes one platform's image may do so, and the index then names something that is gone.
CREATE TABLE manifest_references (
    manifest_id INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (manifest_id, digest)
) WITHOUT ROWID;
CREATE INDEX manifest_references_digest ON manifest_references (digest);

CREATE TABLE tags (
    id INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    manifest_id INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    updated INTEGER NOT NULL,
    UNIQUE (repository_id, name)
);
CREATE INDEX tags_manifest ON tags (manifest_id);

-- Search: one document for each tag. Words answer prefixes of any length, trigrams answer any three letters in a row.
-- Triggers keep both true, whoever changes the tags.
CREATE VIRTUAL TABLE tag_words USING fts5 (repository, tag, words, prefix = '1 2 3', tokenize = 'unicode61');
CREATE VIRTUAL TABLE tag_trigrams USING fts5 (repository, tag, words, tokenize = 'trigram');

CREATE TRIGGER tags_added AFTER INSERT ON tags BEGIN
    INSERT INTO tag_words (rowid, repository, tag, words)
        SELECT new.id, r.name, new.name, m.words FROM repositories r, manifests m
        WHERE r.id = new.repository_id AND m.id = new.manifest_id;
    INSERT INTO tag_trigrams (rowid, repository, tag, words)
        SELECT new.id, r.name, new.name, m.words FROM repositories r, manifests m
        WHERE r.id = new.repository_id AND m.id = new.manifest_id;
END;

CREATE TRIGGER tags_moved AFTER UPDATE OF manifest_id ON tags BEGIN
    UPDATE tag_words SET words = (SELECT words FROM manifests WHERE id = new.manifest_id) WHERE rowid = new.id;
    UPDATE tag_trigrams SET words = (SELECT words FROM manifests WHERE id = new.manifest_id) WHERE rowid = new.id;
END;

CREATE TRIGGER tags_removed AFTER DELETE ON tags BEGIN
    DELETE FROM tag_words WHERE rowid = old.id;
    DELETE FROM tag_trigrams WHERE rowid = old.id;
END;
