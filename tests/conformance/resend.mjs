// resend (node) against Resend's stand-in: send, replay, another body under the same key, what was sent, refusals by name.
import { there, assert, call } from './there.mjs'

process.env.RESEND_BASE_URL = there.resend.url
const { Resend } = await import('resend')
const resend = new Resend(there.resend.api_key)
const mail = { from: 'Photo service <hello@photos.example>', to: 'ann@mail.example', subject: 'Ready', text: 'They are ready.' }

await call('send, twice under one key', async () => {
  const first = await resend.emails.send(mail, { idempotencyKey: 'n1' })
  const again = await resend.emails.send(mail, { idempotencyKey: 'n1' })
  assert.equal(first.error, null)
  assert.equal(first.data.id, again.data.id)
  const other = await resend.emails.send({ ...mail, subject: 'Other' }, { idempotencyKey: 'n1' })
  assert.equal(other.error.name, 'invalid_idempotent_request')
  const read = await resend.emails.get(first.data.id)
  assert.deepEqual([read.data.subject, read.data.to], ['Ready', ['ann@mail.example']])
})
await call('refusals by their names', async () => {
  assert.equal((await new Resend('re_wrong').emails.send(mail)).error.name, 'invalid_api_key')
  assert.equal((await resend.emails.send({ from: mail.from, to: mail.to, text: 'x' })).error.name, 'missing_required_field')
})
