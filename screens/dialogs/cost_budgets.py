"""This month of all together and of each provider: so far, by its end, and its budget, which an admin sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.services.actions import Action
from billing_console.services.budgets import ALL, BudgetView, list_budgets, set_budget
from screens import words
from screens.console import ask
from screens.cost_columns import right
from screens.cost_figures import BUDGET_STYLES, budget_status, rounded
from screens.dialogs.base import Dialog
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.ledger import Ledger


class BudgetsDialog(Dialog[None]):
    """Every provider with its month, all together first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "set_budget", N_("Set budget")),
        Binding("x", "remove_budget", N_("Remove budget")),
        Binding("r", "reload", N_("Refresh")),
    ]

    def __init__(self, changed: Callable[[], None]) -> None:
        """Keep what to call after a change, to refresh what lies below."""
        super().__init__()
        self._changed = changed

    def heading(self) -> str:
        """Return the title line."""
        return _("Budgets of this month")

    def compose_content(self) -> ComposeResult:
        """Yield the table."""
        yield RecordTable(self._columns(), key=_key, id="budgets-table", details=False)

    def _columns(self) -> Sequence[Column[BudgetView]]:
        return (
            Column("providerId", N_("Provider"), lambda v: words.cell(whose(v)), lambda v: v.provider_id, 0, 8, 24),
            Column("budgetAmount", N_("Budget"), lambda v: self._amount(v.amount), lambda v: v.amount, right=True),
            Column(
                "monthToDate",
                N_("So far"),
                lambda v: self._amount(v.projection.to_date),
                lambda v: v.projection.to_date,
                right=True,
            ),
            Column("remainingAmount", N_("Remaining"), lambda v: self._amount(v.left), lambda v: v.left, 1, right=True),
            Column("projectedCost", N_("Projected"), self._projected, lambda v: v.projection.expected, 2, right=True),
            Column("budgetStatus", N_("Status"), _status, lambda v: v.status.value, 0, 20),
        )

    def _amount(self, amount: Decimal | None) -> Text:
        return right("–" if amount is None else rounded(amount, self.console.symbol))

    def _projected(self, view: BudgetView) -> Text:
        """Spell what the month will have cost, and by how much that may be wrong."""
        expected, high, symbol = view.projection.expected, view.projection.high, self.console.symbol
        if expected is None or high is None:
            return right("–")
        either_way = money.shown(high - expected, places=0 if expected >= 100 else 2, symbol=symbol)
        return right(f"{rounded(expected, symbol)} ±{either_way}")

    def on_mount(self) -> None:
        """Load."""
        self.query_one(".dialog").add_class("-full")
        self.query_one(RecordTable).focus()
        self._load()

    def _load(self) -> None:
        ask(self, list_budgets, self._show, self._failed, to_show=True)

    def _show(self, budgets: tuple[BudgetView, ...]) -> None:
        self.query_one(RecordTable).show(budgets)
        self.refresh_bindings()

    def _failed(self, error: BillingError) -> None:
        self.say(f"✖ {error}")

    @property
    def current(self) -> BudgetView | None:
        """The month under the cursor."""
        view: BudgetView | None = self.query_one(RecordTable).current if self.query(RecordTable) else None
        return view

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer a change only to whom it is allowed, and to remove a budget only where there is one."""
        if action not in ("set_budget", "remove_budget"):
            return True
        if self.current is None or not self.console.may(Action.BUDGET):
            return False
        return action == "set_budget" or self.current.amount is not None

    def action_reload(self) -> None:
        """Look again now."""
        self._load()

    def action_set_budget(self) -> None:
        """Set the budget under the cursor."""
        if self.current is not None:
            self.app.push_screen(SetBudgetDialog(self.current), self._done)

    def action_remove_budget(self) -> None:
        """Take the budget under the cursor away."""
        if self.current is not None:
            self.app.push_screen(RemoveBudgetDialog(self.current), self._done)

    def _done(self, done: bool | None) -> None:
        if done:
            self._load()
            self._changed()


class SetBudgetDialog(ConfirmedForm[bool]):
    """What may be spent in a month."""

    def __init__(self, view: BudgetView) -> None:
        """Keep whose budget it is."""
        super().__init__()
        self.view = view

    def heading(self) -> str:
        """Return the title line."""
        return _("Monthly budget of %(provider)s") % {"provider": whose(self.view)}

    def fields(self) -> Sequence[Field]:
        """Declare the amount."""
        hint = _("what may be spent in a month")
        if self.view.amount is not None:
            hint = _("now %(amount)s") % {"amount": money.shown_exact(self.view.amount, symbol=self.console.symbol)}
        return (Field("amount", N_("Amount"), partial(money.parse_amount, places=2), hint=hint),)

    def question(self, values: dict[str, Any]) -> str:
        """Say whose budget is set."""
        return _("Set the monthly budget of %(provider)s?") % {"provider": whose(self.view)}

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Show the budget and what is left of it, before and after."""
        return lambda ledger: _changes(self.view, values["amount"], ledger)

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], bool]:
        """Set it."""
        return _write(self.view, values["amount"])


class RemoveBudgetDialog(ConfirmedForm[bool]):
    """There is nothing to fill in: it begins with the page that shows before → after."""

    def __init__(self, view: BudgetView) -> None:
        """Keep whose budget it is."""
        super().__init__()
        self.view = view

    def heading(self) -> str:
        """Return the title line."""
        return _("Monthly budget of %(provider)s") % {"provider": whose(self.view)}

    def fields(self) -> Sequence[Field]:
        """Declare nothing."""
        return ()

    def on_mount(self) -> None:
        """Go on to the page."""
        self.call_later(self.action_accept)

    def question(self, values: dict[str, Any]) -> str:
        """Say whose budget is removed."""
        return _("Remove the monthly budget of %(provider)s?") % {"provider": whose(self.view)}

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Show the budget before, and none after."""
        return lambda ledger: _changes(self.view, None, ledger)

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], bool]:
        """Remove it."""
        return _write(self.view, None)

    def action_close(self) -> None:
        """Go back to the list: there is no form behind the page."""
        if not self._writing:
            self.dismiss(None)


def _write(view: BudgetView, amount: Decimal | None) -> Callable[[Ledger], bool]:
    def work(ledger: Ledger) -> bool:
        set_budget(ledger, view.provider_id, amount)
        return True

    return work


def _changes(view: BudgetView, amount: Decimal | None, ledger: Ledger) -> Sequence[Change]:
    def spelled(value: Decimal | None) -> str:
        return _("none") if value is None else money.shown(value, symbol=ledger.symbol)

    left = None if amount is None else amount - view.projection.to_date
    return (
        Change(_("Budget"), spelled(view.amount), spelled(amount)),
        Change(_("Remaining this month"), spelled(view.left), spelled(left)),
    )


def whose(view: BudgetView) -> str:
    """Name the provider a month is of, or all of them."""
    return _("all providers") if view.provider_id == ALL else view.provider_name


def _status(view: BudgetView) -> Text:
    return words.cell(budget_status(view.status), BUDGET_STYLES[view.status])


def _key(view: BudgetView) -> str:
    """Tell rows apart by a text that is never empty, as ALL is."""
    return f"of {view.provider_id}"
