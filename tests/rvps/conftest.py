from tests.databases import database, migrated_sqlite, new_url, postgres

__all__ = ["database", "migrated_sqlite", "new_url", "postgres"]
