"""tuspy against our server: parts with checksums, an uploader that is forgotten, a server that is killed.

Arguments: the server's address, a token, a file. Says "kill" when the server is to be killed and started again, and waits
for "back".
"""

import hashlib
import sys
import urllib.request

from tusclient import client

address, token, path = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}


def kill_server():
    print("kill", flush=True)
    assert sys.stdin.readline().strip() == "back"


def stored(name):
    request = urllib.request.Request(f"{address}/api/v1/files/{name}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


with open(path, "rb") as file:
    expected = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read()).hexdigest()

for endpoint in ("/api/v1/uploads", "/api/v1/uploads/"):
    tus = client.TusClient(address + endpoint, headers=headers)
    name = f"tuspy-{len(endpoint)}"
    uploader = tus.uploader(
        path, chunk_size=1_300_000, metadata={"path": name}, upload_checksum=True, retries=8, retry_delay=1
    )
    for round in range(20):
        uploader.upload_chunk()
        before = uploader.offset
        if round % 5 == 4:
            kill_server()
        # As a process that starts anew: it asks how far the file is.
        uploader = tus.uploader(
            path, chunk_size=1_300_000, url=uploader.url, upload_checksum=True, retries=8, retry_delay=1
        )
        assert uploader.offset == before, f"{uploader.offset} bytes are there, {before} were acknowledged"
    uploader.upload()
    assert stored(name) == expected, "the file is not what was sent"
    print(f"tuspy: {name} is whole", flush=True)
