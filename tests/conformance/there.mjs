// Where the stand-ins are, and how a script of a stranger says what it saw.
import { readFileSync } from 'node:fs'
import assert from 'node:assert/strict'

export const there = JSON.parse(readFileSync(process.env.SANDBOX, 'utf8'))
export { assert }

/** One call that we use, as the provider's own client makes it. */
export async function call (name, made) {
  await made()
  console.log(`  ${name}`)
}

/** The error that this must end with. */
export async function refused (promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  assert.fail('nothing was refused')
}

/** The stand-ins' own control, for what a provider does by itself. */
export async function control (method, path, body) {
  const answer = await fetch(there.control.url + path, {
    method,
    headers: { authorization: `Bearer ${there.control.key}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body)
  })
  assert.equal(answer.status, 200, `${method} ${path}`)
  return await answer.json()
}

/** A grey picture of 64 by 64 pixels, PNG. */
export const picture = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAKUlEQVR42u3MQREAAAwCIKMb3RD77SAA6VEEAoFAIBAIBAKBQCAQfA8G320AeXC6efoAAAAASUVORK5CYII=', 'base64')
