// The built client against a running intake: SAFELIGHT_URL and SAFELIGHT_TOKEN (scopes enqueue and read) are set by `./dev client`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { followOrder, safelight, SafelightError } from "../dist/index.js";

const url = process.env.SAFELIGHT_URL;
const token = process.env.SAFELIGHT_TOKEN;
assert.ok(url && token, "./dev client sets SAFELIGHT_URL and SAFELIGHT_TOKEN");
const client = safelight({ url, token });

test("a person is registered, once for one key, and erased", async () => {
  const body = { email: `ann+${Date.now()}@example.org` };
  const headers = { "idempotency-key": crypto.randomUUID() };
  const first = await client.POST("/v1/subjects", { body, headers });
  const second = await client.POST("/v1/subjects", { body, headers });
  assert.match(first.data.subject, /^subject_/);
  assert.equal(second.data.subject, first.data.subject);
  assert.equal(second.response.headers.get("idempotent-replayed"), "true");
  const erased = await client.POST("/v1/subjects/{subject}/erase", { params: { path: { subject: first.data.subject } }, body: {} });
  const { data } = await client.GET("/v1/deletions/{deletion}", { params: { path: { deletion: erased.data.deletion } } });
  assert.equal(data.trigger, "erasure");
});

test("an order takes what its description says", async () => {
  const { data } = await client.POST("/v1/subjects", { body: { email: `bea+${Date.now()}@example.org` } });
  const body = { subject: data.subject, batch: `batch_${"0".repeat(32)}`, plan: "pro" };
  // The body is understood, and such a batch has no photos.
  await assert.rejects(client.POST("/v1/orders", { body }), { status: 422, code: "photo_count" });
});

test("a refusal is an error with its code", async () => {
  const order = `order_${"0".repeat(32)}`;
  await assert.rejects(client.GET("/v1/orders/{order}", { params: { path: { order } } }), (error) => {
    assert.ok(error instanceof SafelightError);
    assert.deepEqual([error.status, error.code], [404, "not_found"]);
    assert.ok(error.requestId);
    return true;
  });
});

test("the kinds of jobs are typed", async () => {
  const { data } = await client.GET("/v1/jobs/kinds");
  assert.ok(data.kinds.some((kind) => kind.kind === "train_model" && kind.queue === "training"));
});

test("docs/deploy.md shows the example's route and cron as they are", () => {
  const read = (file) => readFileSync(new URL(file, import.meta.url), "utf8");
  const guide = read("../../../docs/deploy.md");
  const [, ...route] = read("../examples/next/app/api/sweep/route.ts").trimEnd().split("\n");
  assert.ok(guide.includes(route.map((line) => `    ${line}\n`).join("")));
  assert.ok(guide.includes(/"crons": .*/.exec(read("../examples/next/vercel.json"))[0]));
});

/** An intake that is not ours, for what ours does rarely. */
async function standIn(answer, use) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    await use(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("a busy intake is asked again under the same key", async () => {
  const keys = [];
  const answer = (request, response) => {
    keys.push(request.headers["idempotency-key"]);
    const busy = keys.length < 3;
    response.writeHead(busy ? 503 : 201, { "content-type": "application/json", "retry-after": "0" });
    response.end(busy ? "{}" : '{"subject": "subject_1"}');
  };
  await standIn(answer, async (address) => {
    const { data } = await safelight({ url: address, token: "t" }).POST("/v1/subjects", { body: { email: "a@example.org" } });
    assert.equal(data.subject, "subject_1");
  });
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
});

test("an order is followed over streams that end, from what is known", async () => {
  const asked = [];
  const event = (id, state) => `event: order\nid: ${id}\ndata: {"state":"${state}"}\n\n`;
  const answer = (request, response) => {
    asked.push(request.headers["last-event-id"]);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(asked.length === 1 ? `: alive\n\n${event("a", "paid")}${event("b", "training")}` : event("c", "delivered"));
  };
  const states = [];
  await standIn(answer, async (address) => {
    for await (const view of followOrder({ url: address, token: "t" }, "order_1")) states.push(view.state);
  });
  assert.deepEqual(states, ["paid", "training", "delivered"]);
  assert.deepEqual(asked, [undefined, "b"]);
});

test("a date in retry-after is waited for, and an address may end with a slash", async () => {
  const asked = [];
  const answer = (request, response) => {
    asked.push({ path: request.url, at: Date.now() });
    if (asked.length === 1) {
      response.writeHead(503, { "retry-after": new Date(Date.now() + 2500).toUTCString() });
      return response.end();
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end('event: order\nid: a\ndata: {"state":"delivered"}\n\n');
  };
  await standIn(answer, async (address) => {
    for await (const view of followOrder({ url: `${address}/`, token: "t" }, "order_1")) assert.equal(view.state, "delivered");
  });
  assert.deepEqual(asked.map((request) => request.path), ["/v1/orders/order_1/events", "/v1/orders/order_1/events"]);
  assert.ok(asked[1].at - asked[0].at > 1000, "it came back when it was told, not at once");
});
