"""Modal dialogs: forms, details, filters, help."""
