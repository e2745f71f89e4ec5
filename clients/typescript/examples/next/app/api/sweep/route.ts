// A Next.js route: what Vercel's cron asks. It only forwards: a sweep asks the rows what is due, and twice in a minute it is one sweep.
export async function GET(request: Request): Promise<Response> {
  const bearer = `Bearer ${process.env["CRON_SECRET"]}`;
  if (!process.env["CRON_SECRET"] || request.headers.get("authorization") !== bearer) return new Response(null, { status: 401 });
  const answer = await fetch(`${process.env["SAFELIGHT_URL"]}/sweeps/retention`, { method: "POST", headers: { authorization: bearer } });
  return new Response(null, { status: answer.status });
}
