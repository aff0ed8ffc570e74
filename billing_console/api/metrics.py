"""What Prometheus is told: requests by route and status, how long they took, and how the pools stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from billing_console.services.pools import PoolView
from db.values import BalanceStatus

BALANCES = (
    ("available_balance", "What is left in the pool, in the ledger's currency."),
    ("total_balance", "What was paid into the pool, in the ledger's currency."),
    ("used_amount", "What was used of the pool, in the ledger's currency."),
)
"""The gauges of a pool, named as check-pools names them."""


LITELLM_OUTCOMES = ("recorded", "duplicate", "skipped", "set_aside", "without_user", "unpriced")
"""What can become of a call that LiteLLM sent; the last two are among those recorded."""


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        """Start at zero."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "billing_api_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "billing_api_request_seconds", "How long an answer took.", ["route"], registry=self._registry
        )
        self._litellm = Counter(
            "billing_litellm_calls",
            "Calls that LiteLLM sent, by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in LITELLM_OUTCOMES:
            self._litellm.labels(outcome)
        self.in_flight = Gauge("billing_api_requests_in_flight", "Requests under way.", registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is empty where the path is none of ours, so that no caller can make up labels."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def from_litellm(self, outcomes: Mapping[str, int]) -> None:
        """Count calls that LiteLLM sent, by what became of them."""
        for outcome, count in outcomes.items():
            self._litellm.labels(outcome).inc(count)

    def spelled(self, pools: Iterable[PoolView] = ()) -> bytes:
        """Spell everything in the text format, with the pools given."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Pools(tuple(pools)))
        return generate_latest(self._registry) + generate_latest(registry)


class _Pools(Collector):
    def __init__(self, pools: tuple[PoolView, ...]) -> None:
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        if not self._pools:
            return
        for name, words in BALANCES:
            gauge = GaugeMetricFamily(f"billing_pool_{name}", words, labels=["provider"])
            for pool in self._pools:
                gauge.add_metric([pool.provider_id], float(getattr(pool, name)))
            yield gauge
        ratio = GaugeMetricFamily(
            "billing_pool_balance_ratio", "Share of the pool that is left, 1 is full.", labels=["provider"]
        )
        state = GaugeMetricFamily(
            "billing_pool_state", "1 for the state the pool is in, 0 for the others.", labels=["provider", "state"]
        )
        for pool in self._pools:
            ratio.add_metric([pool.provider_id], float(pool.balance_percentage / 100))
            for status in BalanceStatus:
                state.add_metric([pool.provider_id, status.value], float(pool.status is status))
        yield ratio
        yield state
