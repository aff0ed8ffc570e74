"""All rules of the ledger: one module per capability, one transaction per call."""
