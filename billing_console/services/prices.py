"""Prices: what usage costs from an instant on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func
from sqlmodel import Session, col, select

from billing_console.clock import iso
from billing_console.errors import Conflict, NotFound
from billing_console.i18n import _
from billing_console.money import plain
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.catalogue import register, require_model
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.price_cost import check_price, unit_for
from billing_console.services.session import reading
from billing_console.text import clean, storable
from db.prepared import among, loaded
from db.schema import Price, Provider
from db.statements import row_of
from db.values import PriceUnit, UsageType


@dataclass(frozen=True, slots=True)
class NewPrice:
    """A price to add, in yuan per unit; `unit` None means the type's own, `effective_from` None means now."""

    provider_id: str
    model_id: str
    usage_type: UsageType
    unit: PriceUnit | None
    input_price: Decimal
    output_price: Decimal
    cached_input_price: Decimal | None = None
    effective_from: datetime | None = None
    source_currency: str | None = None
    exchange_rate: str | None = None

    def validate(self) -> None:
        """Raise InvalidInput, naming the field, for a price that cannot be added."""
        storable(self.provider_id, "providerId")
        storable(self.model_id, "modelId")
        unit_for(self.usage_type, self.unit)
        for name, amount in (
            ("inputPrice", self.input_price),
            ("outputPrice", self.output_price),
            ("cachedInputPrice", self.cached_input_price),
        ):
            if amount is not None:
                check_price(amount, name)


@dataclass(frozen=True, slots=True)
class PriceView:
    """A price version, in yuan per unit; `in_force` tells whether it is the one that holds now."""

    id: int
    provider_id: str
    provider_name: str
    model_id: str
    usage_type: UsageType
    unit: PriceUnit
    input_price: Decimal
    output_price: Decimal
    cached_input_price: Decimal | None
    effective_from: datetime
    source_currency: str | None
    exchange_rate: str | None
    operator: str
    created_at: datetime
    in_force: bool


@dataclass(frozen=True, slots=True)
class PricesAdded:
    """How many prices were new, and how many stood there already."""

    added: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """What a model costs from an instant on, in yuan per unit."""

    id: int
    unit: str
    input_price: Decimal
    output_price: Decimal
    cached_input_price: Decimal | None
    effective_from: datetime


_COLUMNS = ("provider_id", "model_id", "usage_type", *PriceVersion.__dataclass_fields__)
_VERSIONS = (
    f"SELECT models.{', models.'.join(_COLUMNS[:2])}, {', '.join(_COLUMNS[2:])} FROM models LEFT JOIN prices"
    " ON prices.provider_id = models.provider_id AND prices.model_id = models.model_id"
    " WHERE (models.provider_id, models.model_id)"
)


class PriceBook:
    """All price versions of some models, to find the one in force at an instant.

    `known` are those of these models that are registered.
    """

    def __init__(self, session: Session, pairs: Set[tuple[str, str]]) -> None:
        """Read the versions of these (provider, model) pairs."""
        self._versions: dict[tuple[str, str, str], list[PriceVersion]] = defaultdict(list)
        self.known: set[tuple[str, str]] = set()
        if not pairs:
            return
        connection = session.connection()
        wanted, values = among(connection, sorted(pairs))
        found = connection.exec_driver_sql(f"{_VERSIONS} IN {wanted} ORDER BY effective_from", values)
        for provider_id, model_id, usage_type, *version in loaded(connection, Price, _COLUMNS, found):
            self.known.add((provider_id, model_id))
            if usage_type is not None:
                self._versions[provider_id, model_id, usage_type].append(PriceVersion(*version))

    def in_force(self, provider_id: str, model_id: str, usage_type: str, at: datetime) -> PriceVersion | None:
        """Return the price that holds at an instant, None while there is none."""
        for version in reversed(self._versions.get((provider_id, model_id, usage_type), ())):
            if version.effective_from <= at:
                return version
        return None


def set_price(ledger: Ledger, new: NewPrice) -> PriceView:
    """Add one price; the same again changes nothing, nor does the one that holds now where no instant is given.

    Raises InvalidInput for a price that is not one, Conflict if another price holds from the same instant.
    """

    def work(session: Session, trail: Trail) -> PriceView:
        price, added = _add(session, ledger, new)
        if added:
            trail.note(None, {"price": price.id, **_shown(price)})
            trail.fact("prices", row_of(price))
        return _view(session, price, ledger)

    return change(ledger, Action.PRICE, f"{new.provider_id} {new.model_id} {new.usage_type}", work)


def add_prices(ledger: Ledger, prices: Sequence[NewPrice], source: str = "") -> PricesAdded:
    """Add many prices, all or none; `source` names where they come from. Raises as `set_price` does."""

    def work(session: Session, trail: Trail) -> PricesAdded:
        added = 0
        for new in prices:
            price, is_new = _add(session, ledger, new)
            if is_new:
                added += 1
                trail.fact("prices", row_of(price))
        if added:
            trail.note(None, {"prices": added})
        return PricesAdded(added=added, unchanged=len(prices) - added)

    return change(ledger, Action.PRICE, source, work)


def _shown(price: Price) -> dict[str, object]:
    return {
        "unit": price.unit,
        "inputPrice": price.input_price,
        "outputPrice": price.output_price,
        "cachedInputPrice": price.cached_input_price,
        "effectiveFrom": price.effective_from,
    }


def _add(session: Session, ledger: Ledger, new: NewPrice) -> tuple[Price, bool]:
    price = _checked(ledger, new)
    register(session, ledger, [(price.provider_id, price.model_id)])
    of_same = select(Price).where(
        Price.provider_id == price.provider_id,
        Price.model_id == price.model_id,
        Price.usage_type == price.usage_type,
    )
    existing = session.exec(of_same.where(Price.effective_from == price.effective_from)).first()
    if existing is None and new.effective_from is None:
        # “From now on” said again is no news: whoever was not sure of the answer may ask a second time.
        newest = of_same.where(Price.effective_from <= price.effective_from).order_by(col(Price.effective_from).desc())
        existing = session.exec(newest).first()
        existing = existing if existing is not None and _content(existing) == _content(price) else None
    if existing is None:
        session.add(price)
        session.flush()
        return price, True
    if _content(existing) != _content(price):
        raise Conflict(
            _("%(model)s already has another price from %(instant)s: input %(input)s, output %(output)s.")
            % {
                "model": clean(f"{price.provider_id} {price.model_id} {price.usage_type}"),
                "instant": iso(price.effective_from),
                "input": plain(existing.input_price),
                "output": plain(existing.output_price),
            },
            _("Prices are never edited; add one that holds from another instant."),
        )
    return existing, False


def _content(price: Price) -> tuple[object, ...]:
    return price.unit, price.input_price, price.output_price, price.cached_input_price


def _checked(ledger: Ledger, new: NewPrice) -> Price:
    new.validate()
    now = ledger.clock()
    return Price(
        provider_id=storable(new.provider_id, "providerId"),
        model_id=storable(new.model_id, "modelId"),
        usage_type=new.usage_type,
        unit=unit_for(new.usage_type, new.unit),
        input_price=new.input_price,
        output_price=new.output_price,
        cached_input_price=new.cached_input_price,
        effective_from=new.effective_from or now,
        source_currency=new.source_currency,
        exchange_rate=new.exchange_rate,
        operator=ledger.operator,
        created_at=now,
    )


def list_prices(
    ledger: Ledger,
    provider_id: str | None = None,
    model_id: str | None = None,
    usage_type: UsageType | None = None,
    *,
    at: datetime | None = None,
    all_versions: bool = False,
) -> tuple[PriceView, ...]:
    """List the prices in force (at an instant, default now), or every version, by model and type, newest first."""
    instant = at or ledger.clock()
    query = select(Price, Provider.name).join(Provider, col(Provider.provider_id) == col(Price.provider_id))
    if provider_id is not None:
        query = query.where(Price.provider_id == provider_id)
    if model_id is not None:
        query = query.where(Price.model_id == model_id)
    if usage_type is not None:
        query = query.where(Price.usage_type == usage_type)
    query = query.order_by(
        col(Price.provider_id), col(Price.model_id), col(Price.usage_type), col(Price.effective_from).desc()
    )
    views, seen = [], set()
    with reading(ledger.database) as session:
        for price, name in session.exec(query):
            key = (price.provider_id, price.model_id, price.usage_type)
            in_force = price.effective_from <= instant and key not in seen
            if in_force:
                seen.add(key)
            if in_force or all_versions:
                views.append(view_of(price, name, in_force))
    return tuple(views)


def price_in_force(ledger: Ledger, provider_id: str, model_id: str, usage_type: UsageType) -> PriceView:
    """Return the price of a model that holds now; raise NotFound for an unknown model and for one without a price."""
    with reading(ledger.database) as session:
        require_model(session, provider_id, model_id)
    found = list_prices(ledger, provider_id, model_id, usage_type)
    if not found:
        raise NotFound(
            _("%(model)s of %(provider)s has no price for %(type)s now.")
            % {"model": clean(model_id), "provider": clean(provider_id), "type": usage_type}
        )
    return found[0]


def price_by_id(session: Session, price_id: int, now: datetime) -> PriceView:
    """Return the price version a record was billed at."""
    price = session.exec(select(Price).where(Price.id == price_id)).one()
    return _view_at(session, price, now)


def _view(session: Session, price: Price, ledger: Ledger) -> PriceView:
    return _view_at(session, price, ledger.clock())


def _view_at(session: Session, price: Price, now: datetime) -> PriceView:
    newest = session.exec(
        select(func.max(Price.effective_from)).where(
            Price.provider_id == price.provider_id,
            Price.model_id == price.model_id,
            Price.usage_type == price.usage_type,
            col(Price.effective_from) <= now,
        )
    ).one()
    name = session.exec(select(Provider.name).where(Provider.provider_id == price.provider_id)).one()
    return view_of(price, name, newest == price.effective_from)


def view_of(price: Price, provider_name: str, in_force: bool) -> PriceView:
    """Copy a price row into the frozen form that leaves the services."""
    if price.id is None:
        raise ValueError("a price has an id once it is stored")
    return PriceView(
        id=price.id,
        provider_id=price.provider_id,
        provider_name=provider_name,
        model_id=price.model_id,
        usage_type=UsageType(price.usage_type),
        unit=PriceUnit(price.unit),
        input_price=price.input_price,
        output_price=price.output_price,
        cached_input_price=price.cached_input_price,
        effective_from=price.effective_from,
        source_currency=price.source_currency,
        exchange_rate=price.exchange_rate,
        operator=price.operator,
        created_at=price.created_at,
        in_force=in_force,
    )
