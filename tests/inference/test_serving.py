"""``examples/serve.py`` answers real requests."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from robustnas.inference import TrainedNetwork

SERVE = Path(__file__).resolve().parents[2] / "examples" / "serve.py"


@pytest.fixture
def address(network: TrainedNetwork) -> Iterator[str]:
    server = runpy.run_path(str(SERVE))["server_of"](network, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def post(address: str, body: bytes) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(Request(address, data=body), timeout=60) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


def test_an_image_is_answered_with_its_prediction(address: str, network: TrainedNetwork, made: Path) -> None:
    image = next((made / "images").rglob("*.png"))
    status, reply = post(address, image.read_bytes())
    prediction: Any = network.predict(image)[0]
    assert (status, reply["label"], reply["classes"]) == (200, prediction.label, list(network.classes))
    assert reply["probabilities"] == pytest.approx(prediction.probabilities)


@pytest.mark.parametrize(
    ("body", "status", "said"), [(b"no image", 400, "like those of training"), (b"", 400, "but got none")]
)
def test_what_is_no_image_is_refused_in_one_sentence(address: str, body: bytes, status: int, said: str) -> None:
    found, reply = post(address, body)
    assert found == status
    assert said in reply["error"]
