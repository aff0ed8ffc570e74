"""A relay between the product and PostgreSQL that loses the answers to commits, as a network does at a bad moment."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT\0"
SIZE = 1 << 16


class Relay:
    """Forwards connections of a unix socket to a server; `lose` says how many more answers to a COMMIT are lost."""

    def __init__(self, place: Path, server: Path) -> None:
        self.lose = 0
        self.lost = 0
        self.refuse = False
        """Whether a server that was lost stays away: new connections are closed at once."""
        self._server = server
        self._clients: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place / SOCKET))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def hang_up(self) -> None:
        """Lose every connection, and refuse new ones from now on."""
        self.refuse = True
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections."""
        # A close alone would leave the thread waiting in accept.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                if self.refuse:
                    client.close()
                    continue
                self._clients.append(client)
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready:
            server.connect(str(self._server / SOCKET))
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            committing = False
            while True:
                for key, _events in ready.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    try:
                        said = source.recv(SIZE)
                        if not said:
                            return
                        if source is client:
                            committing = COMMIT in said
                        elif committing and self.lose:
                            # The server has answered, so the commit is made; nobody will hear of it.
                            self.lose -= 1
                            self.lost += 1
                            return
                        target.sendall(said)
                    except OSError:
                        return


@contextmanager
def relayed(url: str, place: Path) -> Iterator[tuple[str, Relay]]:
    """Yield the URL of the same database by way of a relay whose socket is in `place`, and the relay."""
    direct = make_url(url)
    relay = Relay(place, Path(str(direct.query["host"])))
    try:
        way = direct.update_query_dict({"host": str(place)})
        yield way.render_as_string(hide_password=False), relay
    finally:
        relay.close()
