"""storage3 (Python) against Supabase Storage's stand-in: upload, remove, what is not there."""
from storage3 import create_client

from there import call, there

here = there["supabase"]
bucket = create_client(here["url"] + "/storage/v1/", {"apikey": here["secret_key"]}, is_async=False).from_("safelight")


@call("upload, remove, missing")
def _():
    key = "koselfie/b2/upload/two"
    bucket.upload(key, b"photo", {"content-type": "image/jpeg"})
    assert bucket.download(key) == b"photo"
    assert [row["name"] for row in bucket.remove([key, "koselfie/none"])] == [key]
    assert bucket.remove([key]) == []
