// A Next.js route: what Vercel's cron asks. It only forwards: the intake compares the secret, and twice in a minute is one sweep.
export async function GET(request: Request): Promise<Response> {
  const authorization = request.headers.get("authorization") ?? "";
  const answer = await fetch(`${process.env["SAFELIGHT_URL"]}/sweeps/retention`, { method: "POST", headers: { authorization } });
  return new Response(null, { status: answer.status });
}
