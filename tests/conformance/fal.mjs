// @fal-ai/client against Fal's stand-in: submit, status, result, refusal, cancel, subscribe.
import { createFalClient, ValidationError } from '@fal-ai/client'
import { there, assert, call, refused, control, picture } from './there.mjs'

const hosts = [['https://queue.fal.run', there.fal.queue_url], ['https://rest.fal.ai', there.fal.rest_url], ['https://fal.run', there.fal.queue_url]]
const fal = createFalClient({
  credentials: there.fal.key,
  requestMiddleware: async request => {
    const [from, to] = hosts.find(([from]) => request.url.startsWith(from)) ?? []
    return from ? { ...request, url: to + request.url.slice(from.length) } : request
  }
})
const input = { image_url: `data:image/png;base64,${picture.toString('base64')}` }
const model = 'fal-ai/imageutils/nsfw'

await call('submit, status, result', async () => {
  const { request_id: requestId } = await fal.queue.submit(model, { input })
  assert.match(requestId, /^[0-9a-f-]{36}$/)
  let status
  do status = await fal.queue.status(model, { requestId, logs: false }); while (status.status !== 'COMPLETED')
  const { data } = await fal.queue.result(model, { requestId })
  assert.ok(data.nsfw_probability >= 0 && data.nsfw_probability <= 1)
})
await call('subscribe', async () => {
  const { data } = await fal.subscribe(model, { input, pollInterval: 20 })
  assert.ok('nsfw_probability' in data)
})
await call('a refusal of the model is a ValidationError with its fields', async () => {
  const { request_id: requestId } = await fal.queue.submit(model, { input: {} })
  let status
  do status = await fal.queue.status(model, { requestId }); while (status.status !== 'COMPLETED')
  const error = await refused(fal.queue.result(model, { requestId }))
  assert.ok(error instanceof ValidationError, error)
  assert.equal(error.fieldErrors[0].loc.at(-1), 'image_url')
})
await call('cancel', async () => {
  await control('POST', '/fal/hold', 'in_queue')
  const { request_id: requestId } = await fal.queue.submit(model, { input })
  await fal.queue.cancel(model, { requestId })
  await control('POST', '/fal/hold', 'nowhere')
})
await call('a wrong key is refused', async () => {
  const stranger = createFalClient({ credentials: 'wrong', requestMiddleware: async r => ({ ...r, url: r.url.replace(hosts[0][0], hosts[0][1]) }) })
  assert.equal((await refused(stranger.queue.submit(model, { input }))).status, 401)
})
