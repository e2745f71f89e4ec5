// @supabase/auth-js and storage-js against Supabase's stand-in: the admin's change and deletion of a user, a token by the key set, objects.
import { GoTrueClient } from '@supabase/auth-js'
import { StorageClient } from '@supabase/storage-js'
import { there, assert, call, control } from './there.mjs'

const headers = { apikey: there.supabase.secret_key }
const auth = new GoTrueClient({ url: `${there.supabase.url}/auth/v1`, headers, persistSession: false, autoRefreshToken: false })
const storage = new StorageClient(`${there.supabase.url}/storage/v1`, headers)

await call('a token stands up to the key set, and the user is deleted once', async () => {
  const user = await control('POST', '/supabase/users', { email: 'ann@mail.example' })
  const { token } = await control('POST', '/supabase/tokens', { sub: user.id, email: 'ann@mail.example' })
  const claims = await auth.getClaims(token)
  assert.equal(claims.error, null)
  assert.equal(claims.data.claims.sub, user.id)
  assert.equal((await auth.admin.getUserById(user.id)).data.user.email, 'ann@mail.example')
  assert.equal((await auth.admin.deleteUser(user.id)).error, null)
  assert.deepEqual([(await auth.admin.deleteUser(user.id)).error.code, (await auth.admin.getUserById(user.id)).error.status], ['user_not_found', 404])
})
await call('an address is changed, not to that of another user, and of nobody who is not there', async () => {
  const [ann, eve] = [await control('POST', '/supabase/users', { email: 'ann2@mail.example' }), await control('POST', '/supabase/users', { email: 'eve@mail.example' })]
  const change = (id, email) => auth.admin.updateUserById(id, { email, email_confirm: true })
  const changed = await change(ann.id, 'new@mail.example')
  assert.deepEqual([changed.error, changed.data.user.email], [null, 'new@mail.example'])
  assert.equal((await auth.admin.getUserById(ann.id)).data.user.email, 'new@mail.example')
  assert.equal((await change(ann.id, eve.email)).error.status, 500)
  assert.equal((await auth.admin.deleteUser(ann.id)).error, null)
  assert.equal((await change(ann.id, 'back@mail.example')).error.code, 'user_not_found')
})
await call('objects: put, no second put, sign, list, remove', async () => {
  const bucket = storage.from('safelight')
  const key = 'koselfie/a1/upload/one'
  assert.equal((await bucket.upload(key, Buffer.from('photo'), { contentType: 'image/jpeg' })).error, null)
  assert.equal((await bucket.upload(key, Buffer.from('photo'))).error.statusCode, '409')
  const signed = await bucket.createSignedUrl(key, 60)
  assert.equal(await (await fetch(signed.data.signedUrl)).text(), 'photo')
  assert.deepEqual((await bucket.list('koselfie/a1/upload')).data.map(one => one.name), ['one'])
  assert.equal((await bucket.list('koselfie')).data[0].id, null)
  assert.deepEqual((await bucket.remove([key, 'koselfie/none'])).data.map(one => one.name), [key])
  assert.equal((await bucket.download(key)).error !== null, true)
})
