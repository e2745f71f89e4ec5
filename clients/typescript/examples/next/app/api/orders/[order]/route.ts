// A Next.js route: what a signed-in customer's page asks. The token stays on the server, and the page gets only what it shows.
import { safelight, SafelightError } from "safelight-client";

const client = safelight({ url: process.env["SAFELIGHT_URL"] ?? "", token: process.env["SAFELIGHT_TOKEN"] ?? "" });

/** Seconds that Vercel gives the function: more than it waits for news. */
export const maxDuration = 30;

export async function GET(request: Request, context: { params: Promise<{ order: string }> }): Promise<Response> {
  const { order } = await context.params; // look up first whether it is this customer's
  const known = request.headers.get("if-none-match");
  try {
    const { data, response } = await client.GET("/v1/orders/{order}", {
      // Without a tag the intake would wait until the order has ended: a page that knows nothing yet is answered at once.
      params: { path: { order }, query: known === null ? {} : { wait: 20 } },
      headers: known === null ? {} : { "if-none-match": known },
    });
    if (data === undefined) return new Response(null, { status: 304 });
    return Response.json({ state: data.state, images: data.images.length }, { headers: { etag: response.headers.get("etag") ?? "" } });
  } catch (error) {
    if (error instanceof SafelightError && error.code === "not_found") return new Response(null, { status: 404 });
    throw error;
  }
}
