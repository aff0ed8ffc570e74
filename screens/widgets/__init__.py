"""Widgets shared by the tabs: the table, the alert banner, the header and the line of keys."""
