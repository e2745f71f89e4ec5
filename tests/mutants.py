"""Takes out one rule after the other and looks whether the test that is there for it fails: ./dev mutants [WORD].

The rules stand in mutants.toml. Rules in the source are woven, all of them at once, into a copy of this checkout under target/mutants,
each behind a question that only its own run answers with yes (SAFELIGHT_WITHOUT); so there is one build for all of them. A rule in the
database is taken out of the tests' migrated template (SAFELIGHT_MUTANT names the SQL). Never: changes this checkout.

[[mutant]]
rule = "what holds, in a sentence"
test = "house clauses::clocks::k25_..."      test target and the test's name, or as much of its beginning as is its own; or several
sql  = "select pg_temp.lacks('safelight.readable', '<=', '<')"
and, or instead:
file = "jobs/src/gate.rs"
old  = "an expression, or a statement with its semicolon"
new  = "what stands there instead; WITHOUT in it is the question, where old is neither of the two"
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WOVEN = TARGET / "mutants" / "woven"
WOVEN_TARGET = TARGET / "mutants" / "target"
LONGEST = 600


def environment(**more):
    return {**os.environ, "CARGO_TARGET_DIR": str(WOVEN_TARGET), "SQLX_OFFLINE": "true", "RUST_BACKTRACE": "0", **more}


def programs():
    """Test programs by the name of their target, each with the folder of its package."""
    command = ["cargo", "test", "--workspace", "--lib", "--bins", "--tests", "--no-run", "--quiet", "--message-format=json"]
    built = subprocess.run(command, cwd=WOVEN, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = [json.loads(line) for line in built.stdout.splitlines()]
    if built.returncode:
        errors = [it["message"]["rendered"] for it in said if it["reason"] == "compiler-message" and it["message"]["level"] == "error"]
        raise SystemExit("It does not build:\n" + "".join(errors)[-3000:] + built.stderr[-1000:])
    found = {}
    for it in said:
        if it.get("executable") and it["profile"]["test"]:
            found[it["target"]["name"]] = (it["executable"], pathlib.Path(it["manifest_path"]).parent)
    return found


def copy():
    """This checkout, with what is not committed yet. What did not change keeps its time, so that it is not built again."""
    WOVEN.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    packed = subprocess.run(["tar", "--create", "--null", "--files-from=-"], cwd=ROOT, input=files, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "--extract"], cwd=WOVEN, input=packed.stdout, check=True)


def weave(mutants):
    texts = {}
    for number, mutant in mutants:
        if "file" not in mutant:
            continue
        path, old, new = WOVEN / mutant["file"], mutant["old"], mutant["new"]
        text = texts.get(path) or path.read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{mutant['file']} holds the rule '{mutant['rule']}' {text.count(old)} times: {old}")
        without = f'::std::env::var_os("SAFELIGHT_WITHOUT").is_some_and(|it| it == "{number}")'
        if "WITHOUT" in new:
            woven = new.replace("WITHOUT", f"({without})")
        elif old.rstrip().endswith(";"):
            woven = f"if {without} {{ {new} }} else {{ {old} }}"
        else:
            woven = f"(if {without} {{ {new} }} else {{ {old} }})"
        texts[path] = text.replace(old, woven)
    for path, text in texts.items():
        path.write_text(text)


def run(woven, test, **more):
    """`failed` and why, `passed`, or what else happened."""
    binary, beginning = test.split(" ", 1)
    program, folder = woven[binary]
    listed = subprocess.run([program, "--list"], cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    names = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test") and line.startswith(beginning)]
    if len(names) != 1:
        return "no such test", f"{len(names)} begin so"
    try:
        ran = subprocess.run(
            [program, names[0], "--exact", "--include-ignored"], cwd=folder,
            env=environment(RUST_MIN_STACK="4194304", **more),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return "failed", f"no end within {LONGEST} s"
    if f"test {names[0]} ... ok" in ran.stdout:
        return "passed", ""
    if "test result: FAILED" not in ran.stdout:
        return "did not run", ran.stdout[-500:]
    why = [line for line in ran.stdout.split("panicked at", 1)[-1].splitlines()[1:] if line.strip()]
    return "failed", " ".join(why[:3])[:160]


def tried(number, mutant, test, woven):
    if "sql" not in mutant:
        return run(woven, test, SAFELIGHT_WITHOUT=str(number))
    with tempfile.TemporaryDirectory() as here:
        rule = pathlib.Path(here) / "rule.sql"
        rule.write_text(mutant["sql"])
        word, why = run(woven, test, SAFELIGHT_MUTANT=str(rule), SAFELIGHT_WITHOUT=str(number))
        return (word, why) if rule.with_suffix(".applied").exists() else ("not taken out", why)


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    everything = list(enumerate(tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["mutant"]))
    tests = {number: [it["test"]] if isinstance(it["test"], str) else it["test"] for number, it in everything}
    mutants = [(number, it) for number, it in everything if word in it["rule"] or any(word in test for test in tests[number])]
    if not mutants:
        raise SystemExit(f"No rule and no test here holds '{word}'.")
    copy()
    weave(everything)
    woven = programs()
    trials = missed = 0
    for number, mutant in mutants:
        print(mutant["rule"], flush=True)
        for test in tests[number]:
            word, why = tried(number, mutant, test, woven)
            trials += 1
            missed += word != "failed"
            print(f"  {'seen by' if word == 'failed' else 'MISSED by'} {test}: {word}{', ' if why else ''}{why}", flush=True)
    print(f"{len(mutants)} rules taken out, {trials - missed} of {trials} times the test that is there for it failed.")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
