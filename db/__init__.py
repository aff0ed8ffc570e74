"""Schema, column types, engine and migrations of the ledger; no rules live here."""
