// stripe (node) against Stripe's stand-in: every call that we make, and events as its own check verifies them.
import Stripe from 'stripe'
import { there, assert, call, refused, control } from './there.mjs'

const url = new URL(there.stripe.url)
const stripe = new Stripe(there.stripe.secret_key, { host: url.hostname, port: url.port, protocol: 'http', maxNetworkRetries: 0 })
const wish = {
  mode: 'payment',
  success_url: 'https://photos.example/thanks',
  line_items: [{ quantity: 1, price_data: { currency: 'eur', unit_amount: 1900, product_data: { name: 'Portraits' } } }],
  client_reference_id: 'order_1',
  metadata: { order: 'order_1' }
}
let session

await call('create a session, twice under one key', async () => {
  session = await stripe.checkout.sessions.create(wish, { idempotencyKey: 'k1' })
  const again = await stripe.checkout.sessions.create(wish, { idempotencyKey: 'k1' })
  assert.deepEqual([again.id, again.lastResponse.headers['idempotent-replayed']], [session.id, 'true'])
  const error = await refused(stripe.checkout.sessions.create({ ...wish, client_reference_id: 'x' }, { idempotencyKey: 'k1' }))
  assert.equal(error.type, 'StripeIdempotencyError')
})
await call('retrieve it with its line items, and list', async () => {
  const read = await stripe.checkout.sessions.retrieve(session.id, { expand: ['line_items'] })
  assert.deepEqual([read.status, read.payment_status, read.amount_total, read.line_items.data.length], ['open', 'unpaid', 1900, 1])
  const listed = await stripe.checkout.sessions.list({ limit: 10 })
  assert.ok(listed.data.some(one => one.id === session.id))
  assert.equal((await refused(stripe.checkout.sessions.retrieve('cs_test_none'))).code, 'resource_missing')
})
await call('expire one, and not twice', async () => {
  const other = await stripe.checkout.sessions.create(wish)
  assert.equal((await stripe.checkout.sessions.expire(other.id)).status, 'expired')
  assert.equal((await refused(stripe.checkout.sessions.expire(other.id))).type, 'StripeInvalidRequestError')
})
await call('refund a payment once, list refunds and disputes', async () => {
  await control('POST', `/stripe/sessions/${session.id}/pay`, {})
  const paid = await stripe.checkout.sessions.retrieve(session.id)
  assert.equal(paid.payment_status, 'paid')
  const refund = await stripe.refunds.create({ payment_intent: paid.payment_intent, amount: 900, reason: 'requested_by_customer' }, { idempotencyKey: 'r1' })
  assert.deepEqual([refund.object, refund.amount, refund.payment_intent], ['refund', 900, paid.payment_intent])
  const error = await refused(stripe.refunds.create({ payment_intent: paid.payment_intent, amount: 1901 }))
  assert.equal(error.type, 'StripeInvalidRequestError')
  const refunds = await stripe.refunds.list({ payment_intent: paid.payment_intent })
  assert.deepEqual(refunds.data.map(one => one.id), [refund.id])
  assert.deepEqual((await stripe.disputes.list({ payment_intent: paid.payment_intent })).data, [])
})
await call('what the books read: payments with their charges, sessions of a payment, lists by their day', async () => {
  const expand = ['payment_intent.latest_charge']
  const paid = await stripe.checkout.sessions.retrieve(session.id, { expand })
  assert.deepEqual([paid.payment_intent.object, paid.payment_intent.latest_charge.amount_refunded], ['payment_intent', 900])
  const payment = paid.payment_intent.id
  assert.deepEqual((await stripe.checkout.sessions.list({ payment_intent: payment })).data.map(one => one.id), [session.id])
  const created = { gte: session.created, lt: session.created + 1 }
  const sessions = await stripe.checkout.sessions.list({ created, limit: 100, expand: [`data.${expand[0]}`] })
  const again = sessions.data.find(one => one.id === session.id)
  assert.equal(again.payment_intent.latest_charge.amount_refunded, 900)
  assert.ok(sessions.data.every(one => one.created === session.created))
  const [refund] = (await stripe.refunds.list({ payment_intent: payment })).data
  const refunds = await stripe.refunds.list({ created: { gte: refund.created, lt: refund.created + 1 } })
  assert.ok(refunds.data.some(one => one.id === refund.id))
  assert.equal((await stripe.refunds.list({ created: { gte: refund.created + 3600 } })).data.length, 0)
  assert.deepEqual((await stripe.disputes.list({ created })).data, [])
})
await call('tax that Stripe reckons, and a refund that says whose it is', async () => {
  const taxed = await stripe.checkout.sessions.create({ ...wish, automatic_tax: { enabled: true } })
  assert.equal(taxed.automatic_tax.enabled, true)
  const paid = await stripe.checkout.sessions.retrieve(session.id)
  const refund = await stripe.refunds.create({ payment_intent: paid.payment_intent, amount: 100, metadata: { refund: 'refund_1' } })
  assert.equal(refund.metadata.refund, 'refund_1')
})
await call('events are listed, and verified by its own check', async () => {
  const events = await stripe.events.list({ type: 'checkout.session.completed' })
  assert.equal(events.data[0].data.object.id, session.id)
  const payload = JSON.stringify(events.data[0])
  const { header: signature } = await control('POST', '/stripe/sign', { payload })
  const event = stripe.webhooks.constructEvent(payload, signature, there.stripe.webhook_secret)
  assert.equal(event.id, events.data[0].id)
  assert.throws(() => stripe.webhooks.constructEvent(payload + ' ', signature, there.stripe.webhook_secret))
})
