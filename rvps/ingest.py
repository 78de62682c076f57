"""Write side: an admitted statement and what was derived from it become reference values."""
