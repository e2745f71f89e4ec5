"""stripe (Python) against Stripe's stand-in: session, refund, and its own check of a signature."""
import json

import stripe

from there import call, control, there

here = there["stripe"]
client = stripe.StripeClient(here["secret_key"], base_addresses={"api": here["url"]})


@call("session, refund, event")
def _():
    session = client.v1.checkout.sessions.create({
        "mode": "payment", "success_url": "https://photos.example/", "client_reference_id": "order_2",
        "line_items": [{"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 700, "product_data": {"name": "Portraits"}}}],
    })
    control("POST", f"/stripe/sessions/{session.id}/pay", {})
    paid = client.v1.checkout.sessions.retrieve(session.id)
    assert (paid.payment_status, paid.amount_total) == ("paid", 700)
    refund = client.v1.refunds.create({"payment_intent": paid.payment_intent}, {"idempotency_key": "p1"})
    assert refund.amount == 700
    payload = json.dumps({"id": "evt_1", "object": "event"})
    signature = control("POST", "/stripe/sign", {"payload": payload})["header"]
    stripe.WebhookSignature.verify_header(payload, signature, here["webhook_secret"], 300)
