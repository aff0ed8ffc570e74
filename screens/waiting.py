"""What the console says of a money operation that waits for a second person."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from billing_console.i18n import _

if TYPE_CHECKING:
    from textual.app import App
    from typing_extensions import TypeIs

    from billing_console.services.approvals import ApprovalView

Booked = TypeVar("Booked")


def said_waiting(result: Booked | ApprovalView, app: App[int]) -> TypeIs[ApprovalView]:
    """Tell whether a form's result is a request that waits for approval, and if so, say it."""
    from billing_console.services.approvals import ApprovalView

    if not isinstance(result, ApprovalView):
        return False
    words = _("Request %(id)d waits for another admin to approve it (within 24 hours).") % {"id": result.id}
    app.notify(words, markup=False)
    return True
