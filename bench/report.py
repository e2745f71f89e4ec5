"""Results of a run as tables, and into documents. Standard library only.

    python3 bench/report.py RESULTS [DOCUMENT ...]

Without documents the tables are printed. A document holds places `<!--=name--> ... <!--/-->`; what stands between is replaced by
the table or number of that name. A name that the results do not give is an error, so no old number stays unseen.
"""

import json
import re
import statistics
import sys

PLACE = re.compile(r"(<!--=([a-z0-9_]+)-->)(.*?)(<!--/-->)", re.S)
OURS = ("safelight", "safelight-apart", "safelight-sql")
TITLES = {
    "safelight": "**Safelight**",
    "safelight-apart": "Safelight, woken over the database",
    "safelight-sql": "Safelight, by SQL function, one commit a job",
    "gworker-lq": "graphile_worker 0.14.1 (Rust), local queue 1000",
    "apalis-tuned": "apalis-postgres 1.0.0, batch 500, own poll strategy",
    "apalis-notify": "apalis-postgres 1.0.0, as documented",
    "awa": "awa 0.6.9",
    "awa-shards": "awa 0.6.9, 8 enqueue shards",
    "graphile": "graphile-worker 0.18.0 (node)",
    "graphile-lq": "graphile-worker 0.18.0 (node), local queue 500",
    "pgboss": "pg-boss 12.35.0 (node)",
    "procrastinate": "procrastinate 3.10.0 (Python)",
    "fang": "fang 0.11.0 (no wake-up, no bulk call)",
    "sqlxmq": "sqlxmq 0.6.0",
    "underway": "underway 0.2.0",
}


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 1 else f"{value:,.2f}"


def spread(values):
    """Median (smallest-largest)."""
    if not values:
        return "-"
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}-{number(max(values))})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


class Results:
    def __init__(self, path):
        with open(path, encoding="utf-8") as lines:
            self.rows = [json.loads(line) for line in lines if line.strip()]
        self.machine = next(row for row in self.rows if row["system"] == "machine")
        named = dict.fromkeys(row["system"] for row in self.rows)
        self.systems = [name for name in named if name in TITLES]
        self.peers = [name for name in self.systems if name not in OURS]

    def lines(self, system, test):
        return [row for row in self.rows if row["system"] == system and row.get("as") == test]

    def rates(self, system, test):
        # A drain that left something is not a drain.
        return [row["per_s"] for row in self.lines(system, test) if row.get("left", 0) == 0]

    def waits(self, system, test, which):
        return [row["lat"][which] for row in self.lines(system, test) if row.get("lat", {}).get("n")]

    def limit(self, test, clients=None):
        rates = [r["per_s"] for r in self.lines("limit", "limit") if r["test"] == test and clients in (None, r["clients"])]
        return statistics.median(rates) if rates else None

    def best(self, test):
        """The fastest peer: name and median."""
        return max(((name, statistics.median(self.rates(name, test))) for name in self.peers if self.rates(name, test)),
                   key=lambda pair: pair[1], default=None)

    def soonest(self, test):
        return min(((name, statistics.median(self.waits(name, test, "p99_ms"))) for name in self.peers if self.waits(name, test, "p99_ms")),
                   key=lambda pair: pair[1], default=None)


def main_table(results):
    def latency(system, test):
        return " / ".join(spread(results.waits(system, test, which)) for which in ("p50_ms", "p95_ms", "p99_ms")) \
            if results.waits(system, test, "p50_ms") else "-"
    rows = []
    for name in results.systems:
        rows.append([TITLES[name]] + [spread(results.rates(name, test)) for test in ("drain", "single", "bulk")]
                    + [latency(name, test) for test in ("idle", "load", "busy")])
    return table(["system", "drain, jobs/s", "single enqueue/s, 16 producers", "bulk enqueue/s, 1000 a call", "idle: p50 / p95 / p99 ms",
                  "200 jobs/s: p50 / p95 / p99 ms", "the same, all cores busy: p50 / p95 / p99 ms"], rows)


def ratio_table(results):
    rows = []
    for test, what, reach in (("drain", "drain", 1.4), ("bulk", "bulk enqueue", 2.0), ("single", "single enqueue", 2.0)):
        best, ours = results.best(test), results.rates("safelight", test)
        if best and ours:
            ratio = statistics.median(ours) / best[1]
            rows.append([what, number(statistics.median(ours)), f"{TITLES[best[0]]}: {number(best[1])}", f"{ratio:.2f} times", f"at least {reach} times",
                         "reached" if ratio >= reach else "not reached"])
    plain = results.limit("insert1", 16)
    for system, what in (("safelight", "single enqueue"), ("safelight-sql", "single enqueue by SQL function")):
        ours = results.rates(system, "single")
        if plain and ours:
            ratio = statistics.median(ours) / plain
            rows.append([what, number(statistics.median(ours)), f"plain one-row commits (pgbench, 16 clients): {number(plain)}", f"{ratio:.2f} times",
                         "at least 0.6 times", "reached" if ratio >= 0.6 else "not reached"])
    for test, what in (("idle", "enqueue to start when idle"), ("load", "at 200 jobs/s"), ("busy", "at 200 jobs/s, all cores busy")):
        for system, how in (("safelight", "p99 ms"), ("safelight-apart", "woken over the database, p99 ms")):
            best, ours = results.soonest(test), results.waits(system, test, "p99_ms")
            if best and ours:
                mine = statistics.median(ours)
                rows.append([f"{what}, {how}", number(mine), f"{TITLES[best[0]]}: {number(best[1])}", f"{mine / best[1]:.2f} times", "below 1",
                             "reached" if mine < best[1] else "not reached"])
    peaks = [row["peak_mb"] for row in results.lines("safelight", "drain") if row.get("peak_mb")]
    if peaks:
        rows.append(["memory of the worker while draining, MB", spread(peaks), "-", "-", "below 60", "reached" if max(peaks) < 60 else "not reached"])
    steps = {(row["archived"], row["scheduled"]): row for row in results.lines("safelight", "scale")}
    full = max((key for key in steps if key[1] == 0), default=None)
    if full and (0, 0) in steps and full[0] > 0:
        ratio = steps[full]["drain_per_s"] / steps[0, 0]["drain_per_s"]
        rows.append([f"drain beside {full[0]:,} archived jobs", number(steps[full]["drain_per_s"]),
                     f"beside none: {number(steps[0, 0]['drain_per_s'])}", f"{ratio:.2f} times", "at least 0.9 times", "reached" if ratio >= 0.9 else "not reached"])
    return table(["what", "Safelight", "beside", "ratio", "to reach", ""], rows)


def part_table(results):
    """Where the time between a wish and its start goes, in the mean of all jobs and of the slowest hundredth."""
    rows = []
    for test, what in (("idle", "idle"), ("load", "200 jobs/s"), ("busy", "200 jobs/s, all cores busy")):
        for system, how in (("safelight", ""), ("safelight-apart", ", woken over the database")):
            parts = [row["parts"] for row in results.lines(system, test) if row.get("parts")]
            if parts:
                rows.append([what + how] + [" / ".join(number(statistics.median([part[which][step] for part in parts])) for step in ("timer_ms", "commit_ms", "start_ms"))
                                            for which in ("all", "slowest_percent")])
    return table(["measured", "all jobs: timer / commit / start, ms", "slowest hundredth: timer / commit / start, ms"], rows)


def limit_table(results):
    points = dict.fromkeys((row["test"], row["clients"]) for row in results.lines("limit", "limit"))
    rows = [[f"`{test}`", str(clients), spread([r["per_s"] for r in results.lines("limit", "limit") if (r["test"], r["clients"]) == (test, clients)])]
            for test, clients in points]
    return table(["plain SQL by pgbench", "clients", "rows/s"], rows)


def cost_table(results):
    rows = [["write-ahead log of its enqueue in bulk, bytes a job", spread([row["wal_bytes"] for row in results.lines("safelight", "bulk")])]]
    for key, what in (("worker_cpu_us", "processor time of the worker, microseconds a job"),
                      ("machine_cpu_us", "processor time of the whole machine, microseconds a job"),
                      ("wal_bytes", "write-ahead log of claim and settle, bytes a job"), ("peak_mb", "memory of the worker at most, MB")):
        rows.append([what, spread([row[key] for row in results.lines("safelight", "drain") if row.get(key) is not None])])
    return table(["one no-op job, claimed, run, fenced, archived", ""], rows)


def scale_table(results):
    def megabytes(row, name):
        return number(row["table_bytes"].get(name, 0) / 1e6)
    rows = [[f"{row['archived']:,}", f"{row['scheduled']:,}",
             f"{number(row['drain_per_s'])} ({number(row['drain_min'])}-{number(row['drain_max'])})",
             f"{row['claim_p50_ms']:.2f} / {row['claim_p99_ms']:.2f}", megabytes(row, "jobs"), megabytes(row, "jobs_archive")]
            for row in results.lines("safelight", "scale")]
    return table(["archived", "scheduled", "drain, jobs/s", "claim of one, p50 / p99 ms", "hot table, MB", "archive, MB"], rows)


def together(results, trial):
    """Rates of trials in which two processes drain at once: all runs, over the longer of the two times."""
    lines = results.lines("safelight", trial)
    pairs = [lines[i:i + 2] for i in range(0, len(lines) - 1, 2)]
    return [sum(row["runs"] for row in pair) / max(row["secs"] for row in pair) for pair in pairs]


def trial_table(results):
    rows = [["one worker, one database", spread(results.rates("safelight", "one-worker"))],
            ["two worker processes, one database", spread(together(results, "two-workers"))],
            ["two databases in one Postgres, a worker each", spread(together(results, "two-databases"))]]
    return table(["what", "jobs/s together"], rows)


def places(results):
    machine = results.machine
    found = {
        "machine": f"{machine['cores']} cores ({machine['model']}), {machine['memory_gb']} GB memory, PostgreSQL {machine['postgres']}, "
                   f"shared_buffers {machine['shared_buffers']}, {machine['reps']} repetitions, {machine['date']}, commit {machine['commit']}",
        "peers": main_table(results), "ratios": ratio_table(results), "limits": limit_table(results), "parts": part_table(results), "costs": cost_table(results),
        "scale": scale_table(results), "trials": trial_table(results),
        "cores": str(machine["cores"]),
    }
    drains = results.lines("safelight", "drain")
    if drains:
        drain = statistics.median(row["per_s"] for row in drains)
        cpu = statistics.median(row["machine_cpu_us"] for row in drains)
        wal = sum(statistics.median(row["wal_bytes"] for row in results.lines("safelight", test)) for test in ("bulk", "drain"))
        found |= {"drain": number(drain), "machine_cpu": number(cpu), "wal": number(wal),
                  "worker_cpu": number(statistics.median(row["worker_cpu_us"] for row in drains))}
        found |= shop(results, drain, wal)
    return found


# The busy shop that docs/scale.md assumes; the words for it stand there.
ORDERS_A_DAY = 2_000
JOBS_AN_ORDER = 70
PEAK = 10


def shop(results, drain, wal):
    """The numbers of docs/scale.md: what the assumed load asks for, and which share of this machine that is."""
    found = {"orders": f"{ORDERS_A_DAY:,}", "jobs_an_order": str(JOBS_AN_ORDER), "peak": str(PEAK)}
    steps = results.lines("safelight", "scale")
    archived = [row for row in steps if row["archived"] > 0]
    row_bytes = archived[-1]["table_bytes"]["jobs_archive"] / archived[-1]["archived"] if archived else 0
    found["archive_row"] = number(row_bytes)
    rows = []
    for times in (1, 10, 100, 1000):
        day = ORDERS_A_DAY * JOBS_AN_ORDER * times
        peak = day / 86_400 * PEAK
        rows.append([f"{times:,}", f"{day:,}", number(peak), f"{100 * peak / drain:.2f} %", number(peak * wal / 1e6), number(day * wal / 1e9),
                     number(day * 30 * row_bytes / 1e9)])
    found["shop"] = table(["times the shop", "jobs a day", "jobs/s at the peak", "share of the measured drain", "WAL at the peak, MB/s", "WAL a day, GB",
                           "archive of 30 days, GB"], rows)
    return found


def fill(path, found):
    with open(path, encoding="utf-8") as document:
        text = document.read()
    unknown = sorted({name for _, name, _, _ in PLACE.findall(text)} - found.keys())
    if unknown:
        sys.exit(f"{path}: the results do not give {', '.join(unknown)}")

    def put(match):
        value = found[match[2]]
        return match[1] + (f"\n{value}\n" if "\n" in value else value) + match[4]
    with open(path, "w", encoding="utf-8") as document:
        document.write(PLACE.sub(put, text))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    results = Results(sys.argv[1])
    if len(sys.argv) == 2:
        print("\n\n".join([main_table(results), ratio_table(results), part_table(results), limit_table(results), cost_table(results)]
                          + ([scale_table(results), trial_table(results)] if results.lines("safelight", "scale") else [])))
        return
    found = places(results)
    for path in sys.argv[2:]:
        fill(path, found)


main()
