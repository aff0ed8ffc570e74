"""The Textual side of the console: one module per tab, dialogs and widgets; no SQL, no rules."""
