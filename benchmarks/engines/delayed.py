"""A server that computes elsewhere, as its client sees it: it passes requests on, and draws reach it so much later.

    python benchmarks/engines/delayed.py --url http://localhost:8000 --port 8100 --seconds 4

What the seconds stand for is the work of hardware that the learner does not share, which one machine does not have.
"""

import argparse
import json
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "seed" in json.loads(body):  # a draw, and no probe
                time.sleep(given.seconds)
            self._pass_on(body)

        def _pass_on(self, body: bytes | None) -> None:
            server = HTTPConnection(urlsplit(given.url).netloc)
            server.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = server.getresponse()
            text = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            server.close()

        def log_message(self, *_: object) -> None:
            """Silent."""

    class Listening(ThreadingHTTPServer):
        request_queue_size = 256

    Listening(("127.0.0.1", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
