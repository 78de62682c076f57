from tests.databases import connect, database, migrated_sqlite, new_url, postgres

__all__ = ["connect", "database", "migrated_sqlite", "new_url", "postgres"]
