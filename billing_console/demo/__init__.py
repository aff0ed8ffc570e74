"""The demo ledger: 60 days of believable usage on real token counts and real prices, built through the services."""
