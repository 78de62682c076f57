"""Databases: engine, transactions, migrations. Rooms keep their own tables in ``<room>/tables.py``."""
