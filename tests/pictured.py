"""States of screens and dialogs that the tour does not lead to: empty, filtered, wrong, about to be done, done."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """Words that a screen shows in English, the keys that lead there, the screen on top, and on which ledger."""

    says: str
    keys: tuple[str, ...]
    top: str = "TabScreen"
    ledger: str = "tour"


STATES: dict[str, State] = {
    # Nothing there yet
    "empty-usage": State("usage import FILE", ("1",), ledger="empty"),
    "empty-costs": State("usage import FILE", ("2",), ledger="empty"),
    "empty-pools": State("pools add", ("3",), ledger="empty"),
    "empty-quotas": State("Press c", ("4",), ledger="empty"),
    "empty-models": State("prices import FILE", ("5",), ledger="empty"),
    "empty-pricing": State("Press p", ("6",), ledger="empty"),
    "empty-alerts": State("There has been no alert yet.", ("a",), "AlertsDialog", "empty"),
    "empty-approvals": State("Nothing has needed an approval yet.", ("A",), "ApprovalsDialog", "empty"),
    "empty-budgets": State("no budget", ("2", "B"), "BudgetsDialog", "empty"),
    "empty-palette": State("Search for a command", ("colon",), "Palette", "empty"),
    "no-pool": State("no pool", ("3", "j", "enter"), "PoolDetailsDialog"),
    "no-quota": State("no quota limits this user", ("4", "G", "enter"), "QuotaDetailsDialog"),
    "no-price": State("no price", ("6", "j", "enter"), "PriceHistoryDialog"),
    "no-price-what-if": State("What if phi-4", ("6", "j", "w"), "PriceWhatIfDialog"),
    "unpriced-call": State("Unpriced", ("1", "enter"), "UsageDetailsDialog"),
    # Filtered
    "filtered-usage": State("Filter: failed", ("1", "f")),
    "failed-call": State("429 Too Many Requests", ("1", "f", "enter"), "UsageDetailsDialog"),
    "filtered-usage-parts": State("not user alice · [failed]", ("1", "slash", *"!alice", "enter", "f", "x")),
    "filtered-usage-none": State("Nothing matches", ("1", "slash", *"nobody", "enter")),
    "completed-name": State("u-00042", ("1", "slash", *"u-"), "UsageFilterDialog"),
    "followed-usage": State("following", ("1", "F")),
    "filtered-costs": State("OpenAI", ("2", "slash", *["down"] * 3, *"openai", "enter")),
    "filtered-costs-none": State("", ("2", "slash", *["down"] * 3, *"azure", "enter")),
    "grouped-costs": State("by week, provider", ("2", "b", "w")),
    "filtered-quotas": State("user id contains u-00", ("4", "slash", *"u-00", "enter")),
    "filtered-quotas-none": State("Nothing matches", ("4", "slash", *"nobody", "enter")),
    "exhausted-quotas": State("exhausted only", ("4", "f")),
    "marked-quotas": State("2 marked", ("4", "space", "j", "space")),
    "filtered-models": State("Filter: gpt", ("5", "slash", *"gpt", "enter")),
    "filtered-models-none": State("Nothing matches", ("5", "slash", *"nobody", "enter")),
    "filtered-pricing": State("Filter: qwen", ("6", "slash", *"qwen", "enter")),
    "price-versions": State("to come", ("6", "v")),
    "filtered-audit": State("operator tester", ("L", "slash", *"tester", "enter"), "AuditDialog"),
    "filtered-audit-none": State("Nothing matches", ("L", "slash", *"nobody", "enter"), "AuditDialog"),
    "changed-entry": State("Before", ("L", "j", "enter"), "AuditEntryDialog"),
    "filtered-palette": State("Resource pools: Recharge", ("colon", *"recharge"), "Palette"),
    # Wrong
    "wrong-usage-filter": State("is not a date", ("1", "slash", *["down"] * 7, *"soon", "enter"), "UsageFilterDialog"),
    "wrong-cost-filter": State("✖", ("2", "slash", "down", *"soon", "enter"), "CostFilterDialog"),
    "wrong-export": State("cannot be written", ("1", "e", *"/x", "enter"), "ExportDialog"),
    "wrong-recharge": State("more than 2 decimals", ("3", "c", *"1.345", "enter"), "RechargeDialog"),
    "wrong-reversal": State("cannot be empty", ("3", "H", "v", "enter"), "ReversalDialog"),
    "wrong-thresholds": State("✖", ("3", "t", *"x", "enter"), "PoolThresholdsDialog"),
    "wrong-grant": State("greater than 0", ("4", "c", "0", "enter"), "GrantDialog"),
    "wrong-revoke": State("cannot be taken back", ("4", "v", "9", "enter", "T", "enter"), "GrantDialog"),
    "wrong-bulk-grant": State("greater than 0", ("4", "M", "c", "0", "enter"), "BulkGrantDialog"),
    "wrong-periodic": State("✖", ("4", "p", "enter", "x", "enter"), "PeriodicQuotaDialog"),
    "wrong-toggle": State("cannot be empty", ("5", "space", "enter"), "ModelToggleDialog"),
    "wrong-price": State("is not a number", ("6", "p", "x", "enter"), "PriceDialog"),
    "wrong-what-if": State("PROVIDER/MODEL", ("6", "w", *"gpt", "enter"), "PriceWhatIfDialog"),
    "wrong-budget": State("is not a number", ("2", "B", "c", "x", "enter"), "SetBudgetDialog"),
    "wrong-rejection": State("cannot be empty", ("A", "x", "enter"), "RejectDialog"),
    "wrong-audit-filter": State("is not a date", ("L", "slash", *["down"] * 5, *"soon", "enter"), "AuditFilterDialog"),
    # About to be done
    "overdraft": State("overdraw the pool", ("3", "H", "v", "x", "enter"), "ReversalDialog"),
    "sure-thresholds": State("Press y", ("3", "t", *"15", "enter", "9", "enter", "7", "enter"), "PoolThresholdsDialog"),
    "sure-grant": State("Press y", ("4", "c", *"20", "enter", *"T-7", "enter"), "GrantDialog"),
    "sure-request": State("another admin's approval", ("4", "c", *"700", "enter", *"T-7", "enter"), "GrantDialog"),
    "sure-bulk-grant": State("in all", ("4", "M", "c", *"20", "enter", *"T-7", "enter"), "BulkGrantDialog"),
    "sure-periodic": State("Press y", ("4", "p", "enter", *"20", "enter"), "PeriodicQuotaDialog"),
    "sure-toggle": State("Press y", ("5", "space", *"slow", "enter"), "ModelToggleDialog"),
    "sure-provider-toggle": State("Press y", ("5", "G", "D", *"slow", "enter"), "ProviderToggleDialog"),
    "sure-price": State("Press y", ("6", "p", *"17", "enter", *"70", *["enter"] * 3), "PriceDialog"),
    "compared-price": State("Difference", ("6", "w", *"openai/gpt-4o", "enter"), "PriceWhatIfDialog"),
    "sure-budget": State("Press y", ("2", "B", "c", *"9000", "enter"), "SetBudgetDialog"),
    "sure-rejection": State("Press y", ("A", "x", *"no", "enter"), "RejectDialog"),
    # Done
    "done-recharge": State("recharged", ("3", "c", *"50", "enter", *"BT", "enter", "y")),
    "done-request": State("waits for another admin", ("3", "c", *"900", "enter", *"BT", "enter", "y")),
    "done-check": State("checked", ("3", "n")),
    "done-acknowledge": State("Acknowledged by tester", ("a", "space"), "AlertsDialog"),
    "done-approval": State("approved and booked", ("A", "a", "y"), "ApprovalsDialog"),
}
