"""Reference values: who says so, since when, until when; query, retract, list, history."""
