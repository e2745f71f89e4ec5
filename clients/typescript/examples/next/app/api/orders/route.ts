// A Next.js route: a signed-in customer orders portraits. Two clicks on the button are one order: the key is the page's own.
import { safelight, SafelightError } from "safelight-client";

const client = safelight({ url: process.env["SAFELIGHT_URL"] ?? "", token: process.env["SAFELIGHT_TOKEN"] ?? "" });

/** Who is signed in, and the batch of selfies that this server began for them. Yours: read it from your session store, never from the request's body. */
async function customer(request: Request): Promise<{ subject: string; batch: string } | undefined> {
  const session = /(?:^|; )session=([^;]+)/.exec(request.headers.get("cookie") ?? "")?.[1];
  return session === undefined ? undefined : sessions.get(session);
}
const sessions = new Map<string, { subject: string; batch: string }>();

export async function POST(request: Request): Promise<Response> {
  const signedIn = await customer(request);
  if (signedIn === undefined) return Response.json({ code: "not_signed_in" }, { status: 401 });
  const key = request.headers.get("idempotency-key") ?? crypto.randomUUID();
  const { plan } = (await request.json()) as { plan: string };
  try {
    const { data } = await client.POST("/v1/orders", { body: { ...signedIn, plan }, headers: { "idempotency-key": key } });
    return Response.json({ order: data?.order, price: data?.amount_cents }, { status: 201 });
  } catch (error) {
    if (error instanceof SafelightError && error.status < 500) return Response.json({ code: error.code }, { status: error.status });
    throw error;
  }
}
