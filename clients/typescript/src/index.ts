/**
 * Safelight's intake for a web backend. Types and routes come from its description (`schema.ts` is generated); this file adds what
 * every backend needs: the token, an idempotency key on every POST, patience with an intake that is busy, and problems as errors.
 *
 * Never for a browser: a token acts for a whole tenant.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, paths } from "./schema.js";
/** An order as `GET /v1/orders/{order}` answers it. */
export type Order = components["schemas"]["OrderView"];

/** A refusal. Branch on `code`, which never changes its meaning; docs/errors.md lists all. */
export class SafelightError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    /** What happened, for a person. */
    detail: string,
    /** Tell it to us when you ask. */
    readonly requestId: string | undefined,
  ) {
    super(detail);
    this.name = "SafelightError";
  }
}

/** How to reach the intake. */
export interface Options {
  /** Its address, for example `https://jobs.example.org`. */
  url: string;
  /** `slt_…`, of the scopes that the calls need. */
  token: string;
  /** How often a request is sent again that failed on the way, or met 429 or 503. Under the same key: no second effect. 3 if left out. */
  retries?: number;
  /** Instead of the platform's. */
  fetch?: (request: Request) => Promise<Response>;
}

/** A client whose calls throw a {@link SafelightError} when they are refused. */
export function safelight(options: Options): Client<paths> {
  const client = createClient<paths>({ baseUrl: options.url, fetch: (request) => patient(options, request) });
  client.use({
    onRequest({ request }) {
      request.headers.set("authorization", `Bearer ${options.token}`);
      if (request.method === "POST" && !request.headers.has("idempotency-key")) {
        request.headers.set("idempotency-key", crypto.randomUUID());
      }
      return request;
    },
    async onResponse({ response }) {
      if (!response.ok && response.status !== 304) throw await refusal(response);
      return undefined;
    },
  });
  return client;
}

async function refusal(response: Response): Promise<SafelightError> {
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string; request_id?: string };
  const detail = problem.detail ?? `the intake answered ${response.status}`;
  return new SafelightError(response.status, problem.code ?? "unknown", detail, problem.request_id);
}

async function patient(options: Options, request: Request): Promise<Response> {
  const send = options.fetch ?? fetch;
  const retries = options.retries ?? 3;
  for (let tried = 0; ; tried += 1) {
    let seconds = 2 ** tried * 0.25 * (0.5 + Math.random());
    try {
      const response = await send(request.clone());
      if (tried >= retries || !(await passes(response))) return response;
      seconds = until(response.headers.get("retry-after")) ?? seconds;
    } catch (error) {
      if (tried >= retries || request.signal.aborted) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

/** Seconds that `Retry-After` asks to wait: as a number, as the intake says it, or as a date, as something between may (RFC 9110, 10.2.3). */
function until(said: string | null): number | undefined {
  const seconds = said === null ? NaN : /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), 60);
}

/** Will the same request fare better in a moment? Under its key it is the same request, also where the first is still under way. */
async function passes(response: Response): Promise<boolean> {
  if (response.status === 429 || response.status === 503) return true;
  return response.status === 409 && (await refusal(response.clone())).code === "idempotency_in_flight";
}

/**
 * Follow an order until it has ended: its state at once, and again with each change. Comes back by itself when the stream ends or breaks;
 * it gives up when the intake cannot be reached as often in a row as a request is sent again.
 */
export async function* followOrder(options: Options, order: string, signal?: AbortSignal): AsyncGenerator<Order> {
  const ended = ["delivered", "refused", "expired", "refund_review"];
  let last: string | undefined;
  for (;;) {
    const headers = new Headers({ authorization: `Bearer ${options.token}`, accept: "text/event-stream" });
    if (last !== undefined) headers.set("last-event-id", last);
    const request = new Request(`${options.url.replace(/\/+$/, "")}/v1/orders/${encodeURIComponent(order)}/events`, { headers, ...(signal && { signal }) });
    const response = await patient(options, request);
    if (response.status === 204) return;
    if (!response.ok || response.body === null) throw await refusal(response);
    const stream = events(response.body);
    for (;;) {
      // Only the reading: what the caller does with an event may fail with its own errors.
      const next = await stream.next().catch(() => undefined);
      if (next === undefined || next.done) break;
      last = next.value.id ?? last;
      const view = JSON.parse(next.value.data) as Order;
      yield view;
      if (ended.includes(view.state)) return;
    }
    signal?.throwIfAborted();
  }
}

/** Server-sent events with their ids; comments are signs of life. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<{ id: string | undefined; data: string }> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
      const data = field("data").join("\n");
      if (data !== "") yield { id: field("id")[0], data };
    }
  }
}
