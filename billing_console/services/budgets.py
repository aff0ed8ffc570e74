"""Monthly budgets: what may be spent at a provider, or at all together, what is left of it, and whether it will do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import func, select
from sqlmodel import Session
from sqlmodel import select as select_model

from billing_console.clock import day_of
from billing_console.i18n import N_
from billing_console.money import check_amount, plain
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.catalogue import BY_NAME, require_provider
from billing_console.services.changes import change
from billing_console.services.costs import STATS, CostFilter
from billing_console.services.ledger import Ledger
from billing_console.services.projection import Projection, month_projection, needed_from, project
from billing_console.services.session import reading
from db.schema import Budget, Provider

ALL = ""
"""Stands for all providers together where a provider is named."""


class BudgetStatus(StrEnum):
    """Whether a month stays within its budget."""

    NO_BUDGET = "no_budget"
    UNKNOWN = "unknown"
    WITHIN = "within"
    AT_RISK = "at_risk"
    PROJECTED_OVER = "projected_over"
    EXCEEDED = "exceeded"


STATUS_WORDS = {
    BudgetStatus.NO_BUDGET: N_("no budget"),
    BudgetStatus.UNKNOWN: N_("not enough history"),
    BudgetStatus.WITHIN: N_("within budget"),
    BudgetStatus.AT_RISK: N_("may be exceeded"),
    BudgetStatus.PROJECTED_OVER: N_("will be exceeded"),
    BudgetStatus.EXCEEDED: N_("exceeded"),
}
"""What each status is, for people."""


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The current month of a provider, or of all (`provider_id` is ALL), in yuan; `amount` None means no budget."""

    provider_id: str
    provider_name: str
    amount: Decimal | None
    projection: Projection

    @property
    def left(self) -> Decimal | None:
        """Return what is left of the budget in yuan, negative beyond it."""
        return None if self.amount is None else self.amount - self.projection.to_date

    @property
    def status(self) -> BudgetStatus:
        """Tell whether the month stays within the budget."""
        month = self.projection
        if self.amount is None:
            return BudgetStatus.NO_BUDGET
        if month.to_date > self.amount:
            return BudgetStatus.EXCEEDED
        if month.expected is None or month.high is None:
            return BudgetStatus.UNKNOWN
        if month.expected > self.amount:
            return BudgetStatus.PROJECTED_OVER
        return BudgetStatus.AT_RISK if month.high > self.amount else BudgetStatus.WITHIN


def list_budgets(ledger: Ledger) -> tuple[BudgetView, ...]:
    """List the month of all together and then of each provider, by name, with a budget or without."""
    today = day_of(ledger.clock(), ledger.timezone)
    daily = (
        select(STATS.provider_id, STATS.stat_date, func.sum(STATS.total_cost))
        .where(STATS.stat_date >= needed_from(today), STATS.stat_date <= today)
        .group_by(STATS.provider_id, STATS.stat_date)
    )
    first_days = select(STATS.provider_id, func.min(STATS.stat_date)).group_by(STATS.provider_id)
    costs: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    with reading(ledger.database) as session:
        for provider, day, cost in session.connection().execute(daily):
            costs[provider][day] = cost
            costs[ALL][day] += cost
        first = {provider: day for provider, day in session.connection().execute(first_days)}
        amounts = {row.provider_id: row.amount for row in session.exec(select_model(Budget))}
        known = list(session.exec(select_model(Provider.provider_id, Provider.name).order_by(*BY_NAME)))
    if first:
        first[ALL] = min(first.values())
    return tuple(
        BudgetView(provider, name, amounts.get(provider), project(costs[provider], first.get(provider), today))
        for provider, name in [(ALL, ""), *known]
    )


def month_of(ledger: Ledger, chosen: CostFilter) -> BudgetView:
    """Return the current month of the provider, model and type of a filter; a budget is of a provider or of all."""
    provider = chosen.provider_id or ALL
    part = chosen.model_id is not None or chosen.usage_type is not None
    amount = None if part else budget_of(ledger, provider)
    return BudgetView(provider, provider, amount, month_projection(ledger, chosen))


def budget_of(ledger: Ledger, provider_id: str = ALL) -> Decimal | None:
    """Return the monthly budget of a provider, or of all together, in yuan; None without one."""
    with reading(ledger.database) as session:
        row = session.get(Budget, provider_id)
        return None if row is None else row.amount


def set_budget(ledger: Ledger, provider_id: str, amount: Decimal | None) -> Decimal | None:
    """Set what may be spent in a month at a provider, or at ALL, in yuan; None takes the budget away.

    Raises InvalidInput for an amount that is none, and NotFound for an unknown provider.
    """
    if amount is not None:
        check_amount(amount)

    def work(session: Session, trail: Trail) -> Decimal | None:
        if provider_id != ALL:
            require_provider(session, provider_id)
        row = session.get(Budget, provider_id, with_for_update=True)
        before = None if row is None else row.amount
        if row is not None and amount is None:
            session.delete(row)
        elif row is not None and amount is not None:
            row.amount = amount
        elif amount is not None:
            session.add(Budget(provider_id=provider_id, amount=amount))
        if before != amount:
            trail.note({"amount": before}, {"amount": amount})
            trail.state("budgets", provider_id, state_of(amount))
        return amount

    return change(ledger, Action.BUDGET, provider_id or "*", work)


def state_of(amount: Decimal | None) -> str | None:
    """Return what the audit log says of a budget."""
    return None if amount is None else plain(amount)
