from tests.databases import database, empty_url, migrated_sqlite, new_url, postgres

__all__ = ["database", "empty_url", "migrated_sqlite", "new_url", "postgres"]
