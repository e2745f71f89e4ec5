"""Where the stand-ins are, and how a script of a stranger says what it saw."""
import json
import os
import urllib.request

with open(os.environ["SANDBOX"], encoding="utf-8") as file:
    there = json.load(file)
picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAKUlEQVR42u3MQREAAAwCIKMb3RD77SAA6VEEAoFAIBAIBAKBQCAQfA8G320AeXC6efoAAAAASUVORK5CYII="


def call(name):
    """One call that we use, as the provider's own client makes it."""
    def made(script):
        script()
        print(f"  {name}")
    return made


def control(method, path, body):
    """The stand-ins' own control, for what a provider does by itself."""
    request = urllib.request.Request(
        there["control"]["url"] + path, method=method, data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {there['control']['key']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
