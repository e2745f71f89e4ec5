// A Next.js route: a signed-in customer orders portraits. Two clicks on the button are one order: the key is the page's own.
import { safelight, SafelightError } from "safelight-client";

const client = safelight({ url: process.env["SAFELIGHT_URL"] ?? "", token: process.env["SAFELIGHT_TOKEN"] ?? "" });

export async function POST(request: Request): Promise<Response> {
  const key = request.headers.get("idempotency-key") ?? crypto.randomUUID();
  // Take subject and batch from the customer's session, never from the browser.
  const { subject, batch, plan } = (await request.json()) as { subject: string; batch: string; plan: string };
  try {
    const { data } = await client.POST("/v1/orders", { body: { subject, batch, plan }, headers: { "idempotency-key": key } });
    return Response.json({ order: data?.order, price: data?.amount_cents }, { status: 201 });
  } catch (error) {
    if (error instanceof SafelightError && error.status < 500) return Response.json({ code: error.code }, { status: error.status });
    throw error;
  }
}
