"""Answer HTTP requests with a trained network: an image comes in, its class comes out, as JSON.

    python examples/serve.py runs/pets  # the folder of a search, of its evaluation, or of an export; a port may follow
    curl --data-binary @photo.jpg http://127.0.0.1:8000

It listens on this machine only. An image is decoded and resized as those of training were.
"""

import json
import sys
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import robustnas
from robustnas.inference import TrainedNetwork

LARGEST = 20_000_000  # bytes of an image


def server_of(network: TrainedNetwork, port: int = 8000) -> ThreadingHTTPServer:
    """A server for a network, on a port of 127.0.0.1; 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a request to arrive

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            if size < 1:
                return self.answer(400, {"error": "Expected the bytes of an image file as the body, but got none."})
            if size > LARGEST:
                return self.answer(413, {"error": f"Expected an image of at most {LARGEST:,} bytes, but got {size:,}."})
            image = network.preprocess.read(self.rfile.read(size))
            if isinstance(image, str):
                return self.answer(400, {"error": f"Expected an image like those of training, but it is {image}."})
            return self.answer(200, {**asdict(network.predict(image)[0]), "classes": network.classes})

        def do_GET(self) -> None:
            self.answer(405, {"error": "Expected an image by POST: curl --data-binary @photo.jpg ADDRESS"})

        def answer(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    try:
        server = server_of(robustnas.load_network(sys.argv[1]), *map(int, sys.argv[2:]))
    except (ValueError, OSError) as error:  # no network there, or a port that is taken
        sys.exit(str(error))
    print(f"Serving on http://127.0.0.1:{server.server_port}, until Ctrl-C.", flush=True)
    server.serve_forever()
