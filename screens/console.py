"""What every tab and dialog may ask of the running console."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, TypeVar

from textual import events
from textual.app import App
from textual.widget import Widget
from textual.worker import get_current_worker

from billing_console import clock
from billing_console.errors import BillingError, Unavailable
from billing_console.i18n import _
from screens.key_queue import KeyQueue
from screens.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, tzinfo
    from pathlib import Path

    from billing_console.errors import NotPermitted
    from billing_console.services.actions import Action
    from billing_console.services.ledger import Ledger
    from db.values import Role

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class Console(App[int]):
    """The application as screens see it: the open ledger, the mode, and where failures go."""

    ledger: Ledger | None = None
    """None until the database has been opened after the first paint."""

    read_only = False
    refresh_seconds = 5.0
    log_file: Path | None = None

    def __init__(self) -> None:
        """Start without a ledger and without problems."""
        # Textual turns colours into greys otherwise, which are colours too.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.problems: dict[str, BillingError] = {}
        """What is wrong now, by the part of the console that found it."""
        self.keys = KeyQueue(self, super().on_event)
        self.questions: set[Question] = set()
        """What is being asked of the ledger."""

    async def on_event(self, event: events.Event) -> None:
        """Take keys in turn: those typed ahead wait for what the first of them opens."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            await self.keys.take(event)
        else:
            await super().on_event(event)

    def open_ledger(self) -> None:
        """Open the database in a thread, now."""
        raise NotImplementedError

    def stop_reading(self, node: Widget) -> None:
        """Stop what a part of the console reads, because nobody will see the answer; what it writes goes on."""
        for question in [question for question in self.questions if question.node is node]:
            question.stop()

    def may(self, action: Action) -> bool:
        """Tell whether to offer a change: nothing that the role, or a read-only session, does not allow."""
        return self.ledger is not None and not self.read_only and self.ledger.may(action)

    def work_as(self, role: Role) -> None:
        """Offer what this role allows, from now on."""
        raise NotImplementedError

    def shut_out(self, error: NotPermitted) -> None:
        """Close the ledger for somebody who is no operator any more."""
        raise NotImplementedError

    def show_tab(self, tab: str, look: Callable[[Any], None] | None = None) -> None:
        """Show the tab with this id; `look` then tells its pane what to look at."""
        raise NotImplementedError

    def show_as_of(self, time: str) -> None:
        """Say in the first line of what time that is which the tab shows."""
        raise NotImplementedError

    def report(self, source: str, error: BillingError | None) -> None:
        """Say that a part of the console failed, or with None that it works again."""
        raise NotImplementedError

    @property
    def zone(self) -> tzinfo | None:
        """The business time zone in which instants are shown; None (local time) before the ledger is open."""
        return self.ledger.timezone if self.ledger else None

    def now(self) -> datetime:
        """Return this instant, by the ledger's clock once it is open, in the business time zone."""
        instant = self.ledger.clock() if self.ledger else clock.now()
        return instant.astimezone(self.zone)

    @property
    def symbol(self) -> str:
        """The currency's symbol; empty before the ledger is open."""
        return self.ledger.symbol if self.ledger else ""

    def explain(self, error: Exception) -> BillingError:
        """Return what to tell the person about a failure; an unforeseen one goes to the log file first."""
        if isinstance(error, BillingError):
            return error
        log.error("unforeseen failure", exc_info=error)
        where = str(self.log_file) if self.log_file else "stderr"
        return Unavailable(_("Something unforeseen went wrong."), _("The details are in %(file)s.") % {"file": where})


def console_of(node: Widget) -> Console:
    """Return the console a widget or screen runs in."""
    app = node.app
    assert isinstance(app, Console)
    return app


def ask(
    node: Widget,
    work: Callable[[Ledger], Answer],
    done: Callable[[Answer], None],
    failed: Callable[[BillingError], None],
    *,
    group: str = "ask",
    keys_wait: bool = False,
    to_show: bool = False,
) -> Question | None:
    """Run `work` on the ledger in a thread, then call `done` or `failed` on the UI thread.

    A newer question of the same group and node replaces an older one, whose answer is dropped. With `keys_wait` keys
    typed meanwhile are meant for what the answer will show. What is only `to_show` may come from the read replica.
    """
    console = console_of(node)
    ledger = console.ledger
    if ledger is None:
        failed(Unavailable(_("The database is not open."), _("Refresh the tab to try again.")))
        return None
    question = Question(console, ledger, node, group)
    console.questions.add(question)
    if keys_wait or console.keys.waits_for(question.place):
        console.keys.wait_for(question.place, question)

    def answer(handler: Callable[[Any], None], value: object) -> None:
        if console.is_running and not question.stopped:
            handler(value)
        ended()

    def ended() -> None:
        console.questions.discard(question)
        console.keys.answered(question.place, question)

    def run() -> None:
        worker = get_current_worker()
        handler: Callable[[Any], None] = done
        try:
            with question.in_thread():
                value: object = _shown(work, ledger, question) if to_show else work(ledger)
        except Exception as error:
            handler, value = failed, console.explain(error)
        if worker.is_cancelled or not node.call_later(answer, handler, value):
            console.call_later(ended)

    node.run_worker(run, thread=True, exclusive=True, group=group, exit_on_error=False)
    return question


def _shown(work: Callable[[Ledger], Answer], ledger: Ledger, question: Question) -> Answer:
    """Ask the replica; what it fails in while it answers, the primary is asked at once."""
    try:
        return work(ledger.for_viewing)
    except Unavailable:
        if question.stopped or ledger.for_viewing is ledger:
            raise
        return work(ledger)
