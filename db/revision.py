"""The schema revisions this program knows, oldest first; light, so that the version check needs no Alembic."""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
HEAD = REVISIONS[-1]
