"""fal_client (Python) against Fal's stand-in: submit with a webhook address, status, result, cancel."""
import fal_client
import fal_client.client as wire

from there import call, control, picture, there

fal = there["fal"]
wire.QUEUE_URL_FORMAT = wire.RUN_URL_FORMAT = fal["queue_url"] + "/"
wire.REST_URL = fal["rest_url"]
client = fal_client.SyncClient(key=fal["key"])
model, input = "fal-ai/imageutils/nsfw", {"image_url": picture}


@call("submit with a webhook, status, result")
def _():
    handle = client.submit(model, input, webhook_url="http://127.0.0.1:9/webhooks/fal/token")
    while not isinstance(handle.status(), fal_client.Completed):
        pass
    assert 0 <= handle.get()["nsfw_probability"] <= 1


@call("cancel")
def _():
    control("POST", "/fal/hold", "in_queue")
    handle = client.submit(model, input)
    assert isinstance(handle.status(), fal_client.Queued)
    handle.cancel()
    control("POST", "/fal/hold", "nowhere")
