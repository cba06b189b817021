from embedhouse.domain.documents import Document
from embedhouse.ledger import collections, documents
from embedhouse.ledger.database import Database

ROOT = "/data/notes"


def test_documents_from_a_source_are_those_of_that_very_folder_and_its_files(database: Database) -> None:
    sources = {
        "root": ROOT,
        "below": f"{ROOT}/a.md",
        "deep": f"{ROOT}/b/c_%.md",
        "row": f"{ROOT}#3",
        "another case": "/data/Notes/a.md",
        "a longer name": "/data/notes2/a.md",
        "a pattern": "/data/note_/a.md",
    }
    with database.write() as ledger:
        collection_id = collections.add_collection(ledger, "notes")
        batch = [Document(id=name, text="text", source=source) for name, source in sources.items()]
        documents.upsert_documents(ledger, collection_id, batch)
    with database.read() as ledger:
        found = documents.document_ids_from_source(ledger, collection_id, ROOT, "default")
        assert found == ["below", "deep", "root", "row"]
        assert documents.document_ids_from_source(ledger, collection_id, "/data/note_", "default") == ["a pattern"]
