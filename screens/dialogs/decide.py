"""Approve or reject what somebody else asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from billing_console import money
from billing_console.i18n import N_, _
from screens import words
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field
from screens.dialogs.grant import quota_changes
from screens.dialogs.money_form import balance, reference

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.decisions import Approved
    from billing_console.services.ledger import Ledger


class ApproveDialog(ConfirmedForm["Approved"]):
    """There is nothing to fill in: it begins with the page that shows before → after."""

    def __init__(self, request: ApprovalView) -> None:
        """Keep the request to approve."""
        super().__init__()
        self.request = request

    def heading(self) -> str:
        """Return the title line."""
        return _("Approve request %(id)d") % {"id": self.request.id}

    def fields(self) -> Sequence[Field]:
        """Declare nothing."""
        return ()

    def on_mount(self) -> None:
        """Go on to the page."""
        self.call_later(self.action_accept)

    def question(self, values: dict[str, Any]) -> str:
        """Say what was asked for, for whom and by whom."""
        asked = _("%(operator)s asks for a %(kind)s of %(amount)s for %(subject)s, reference “%(reference)s”.") % {
            "operator": self.request.operator,
            "kind": _(words.KINDS[self.request.kind]),
            "amount": money.shown_exact(abs(self.request.amount), symbol=self.console.symbol),
            "subject": self.request.subject,
            "reference": self.request.reference,
        }
        asked += " " + _("Approve it? It is booked at once.")
        note = self.request.note
        return asked + " " + _("Note: %(note)s") % {"note": note} if note else asked

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Compute what it would change now, by the rules as they are now."""
        request = self.request

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.decisions import preview_approval
            from billing_console.services.quotas import QuotaChange

            change = preview_approval(ledger, request.id)
            if isinstance(change, QuotaChange):
                return quota_changes(change, ledger)
            return (balance(_("Available balance"), change, ledger),)

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], Approved]:
        """Approve it; the ledger itself lets it be decided once."""
        request_id = self.request.id

        def work(ledger: Ledger) -> Approved:
            from billing_console.services.decisions import approve

            return approve(ledger, request_id)

        return work

    def action_close(self) -> None:
        """Go back to the list: there is no form behind the page."""
        if not self._writing:
            self.dismiss(None)


class RejectDialog(ConfirmedForm["ApprovalView"]):
    """Reject with a reason, which whoever asked can read."""

    def __init__(self, request: ApprovalView) -> None:
        """Keep the request to reject."""
        super().__init__()
        self.request = request

    def heading(self) -> str:
        """Return the title line."""
        return _("Reject request %(id)d") % {"id": self.request.id}

    def fields(self) -> Sequence[Field]:
        """Declare the reason."""
        return (Field("reason", N_("Reason"), reference, hint=_("why not; whoever asked reads this")),)

    def question(self, values: dict[str, Any]) -> str:
        """Say which request is rejected, and why."""
        return _("Reject request %(id)d of %(operator)s? Reason: %(reason)s") % {
            "id": self.request.id,
            "operator": self.request.operator,
            "reason": values["reason"],
        }

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Say where the request stands and will stand."""
        request = self.request

        def work(_ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.approvals import ApprovalState

            return (Change(_("State"), request.state.spelled, ApprovalState.REJECTED.spelled),)

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], ApprovalView]:
        """Reject it; nothing is booked."""
        request_id = self.request.id

        def work(ledger: Ledger) -> ApprovalView:
            from billing_console.services.decisions import reject

            return reject(ledger, request_id, reason=values["reason"])

        return work
