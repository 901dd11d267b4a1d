"""A TCP relay on loopback that counts what passes: bytes on the wire, protocol and encryption included."""

import socket
import threading


class Relay:
    """Listens on a port of its own and passes on what is `sent` to the server on `port` and `received` from it."""

    def __init__(self, port: int):
        self.target = port
        self.sent = self.received = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for source, target, way in ((client, server, "sent"), (server, client, "received")):
                threading.Thread(target=self._pass_on, args=(source, target, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
                with self._lock:
                    setattr(self, way, getattr(self, way) + len(data))
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one side has gone
            source.close()
            target.close()

    def close(self) -> None:
        self._listener.close()
