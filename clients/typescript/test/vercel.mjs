// The functions that `vercel build` made of examples/next, asked as Vercel and a page ask them; `vercel.sh` calls it with the folder of
// the build and the program, and gives it an intake and its settings.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [folder, program] = process.argv.slice(2);
const { SAFELIGHT_URL: url, SAFELIGHT_TOKEN: token, CRON_SECRET: secret } = process.env;
assert.ok(folder && program && url && token && secret, "vercel.sh sets them");
const output = join(folder, ".vercel/output");
const read = (file) => JSON.parse(readFileSync(join(output, file), "utf8"));

/** The functions, for as long as they are used. */
async function deployed(use) {
  const child = spawn(process.execPath, [join(import.meta.dirname, "functions.mjs"), folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [port] = await once(createInterface(child.stdout), "line");
    await use((path, init) => fetch(`http://127.0.0.1:${port}${path}`, init));
  } finally {
    child.kill();
  }
}

/** As Vercel's cron asks. */
const cron = (bearer) => ({ headers: { "user-agent": "vercel-cron/1.0", ...(bearer && { authorization: `Bearer ${bearer}` }) } });
const sweeps = () => JSON.parse(execFileSync(program, ["jobs", "list", "--kind", "sweep_retention", "--json"], { encoding: "utf8" })).jobs;
/** Seconds since the sweep last ended; -1: never. */
async function age() {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^safelight_sweep_age_seconds\{sweep="retention"\} (\S+)$/m.exec(metrics)?.[1]);
}

test("the cron and a function for each route are in what was built", () => {
  const { crons } = read("config.json");
  assert.deepEqual(crons, [{ path: "/api/sweep", schedule: "*/5 * * * *" }]);
  for (const name of [crons[0].path, "/api/orders", "/api/orders/[order]"]) assert.ok(existsSync(join(output, "functions", `${name}.func`)), name);
  assert.equal(read("functions/api/orders/[order].func/.vc-config.json").maxDuration, 30);
});

test("who is not the cron starts no sweep", async () => {
  await deployed(async (ask) => {
    for (const bearer of [undefined, "wrong", "", `${secret}0`]) assert.equal((await ask("/api/sweep", cron(bearer))).status, 401);
    assert.equal((await ask("/api/sweep", { ...cron(secret), method: "POST" })).status, 405);
  });
  assert.deepEqual(sweeps(), []);
});

test("the cron starts one sweep, which a worker ends; the same again does no harm", async () => {
  const minute = () => Math.floor(Date.now() / 60_000);
  const from = minute();
  await deployed(async (ask) => {
    for (let time = 0; time < 2; time += 1) assert.equal((await ask("/api/sweep", cron(secret))).status, 202);
  });
  const asked = sweeps();
  assert.ok(asked.length >= 1 && asked.length <= 1 + minute() - from, `${asked.length} sweeps`);
  assert.equal(await age(), -1);
  const worker = spawn(program, ["--log", "error", "worker", "--queues", "sweeps"], { stdio: ["ignore", "ignore", "inherit"] });
  try {
    for (let tries = 0; tries < 100 && worker.exitCode === null && (await age()) < 0; tries += 1) await setTimeout(200);
    assert.ok((await age()) >= 0, "no sweep ended");
  } finally {
    if (worker.exitCode === null && worker.kill()) await once(worker, "exit");
  }
});

/** An order of three photos that nobody has paid yet, made with the client that was built beside the example. */
async function order() {
  const { safelight } = await import(pathToFileURL(join(folder, "clients/typescript/dist/index.js")).href);
  const client = safelight({ url, token });
  const { data: person } = await client.POST("/v1/subjects", { body: { email: "ann@example.org" } });
  const { data: batch } = await client.POST("/v1/subjects/{subject}/batches", { params: { path: person }, body: {} });
  const photo = readFileSync(join(import.meta.dirname, "../../../photos/astronaut.png"));
  for (let photos = 0; photos < 3; photos += 1) {
    const { data: upload } = await client.POST("/v1/batches/{batch}/uploads", { params: { path: batch }, body: {} });
    assert.ok((await fetch(upload.put_url, { method: "PUT", headers: { "content-type": "image/png" }, body: photo })).ok);
    await client.POST("/v1/uploads/{artifact}/arrived", { params: { path: upload }, body: {} });
  }
  const { data } = await client.POST("/v1/orders", { body: { subject: person.subject, batch: batch.batch, plan: "basic" } });
  return data.order;
}

test("a page learns how an order stands, and later whether that is still so", async () => {
  const placed = await order();
  await deployed(async (ask) => {
    const first = await ask(`/api/orders/${placed}`, { signal: AbortSignal.timeout(10_000) });
    const tag = first.headers.get("etag");
    assert.deepEqual([first.status, await first.json()], [200, { state: "placed", images: 0 }]);
    assert.ok(tag);
    const [same, other, unknown, stranger] = await Promise.all([
      ask(`/api/orders/${placed}`, { headers: { "if-none-match": tag } }),
      ask(`/api/orders/${placed}`, { headers: { "if-none-match": '"of another day"' } }),
      ask(`/api/orders/order_${"0".repeat(32)}`),
      ask("/api/orders", { method: "POST", body: '{"plan": "basic"}' }),
    ]);
    assert.equal(same.status, 304);
    assert.deepEqual([other.status, other.headers.get("etag")], [200, tag]);
    assert.equal(unknown.status, 404);
    assert.deepEqual([stranger.status, await stranger.json()], [401, { code: "not_signed_in" }]);
  });
});
