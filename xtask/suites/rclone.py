"""rclone over WebDAV: a tree of odd names there and back, compared byte by byte, and moved and copied on the server.

Arguments: the server's address, a token, a file, the path of rclone. Works beside the file.
"""

import json
import os
import shutil
import subprocess
import sys

address, token, path, rclone = sys.argv[1:]
home = os.path.join(os.path.dirname(path), "rclone")
os.makedirs(home)


def run(*arguments):
    command = [rclone, "--config", os.path.join(home, "none"), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=sys.stderr).stdout.decode()


secret = run("obscure", token).strip()
os.environ.update(
    RCLONE_WEBDAV_URL=f"{address}/dav",
    RCLONE_WEBDAV_VENDOR="owncloud",
    RCLONE_WEBDAV_USER="any",
    RCLONE_WEBDAV_PASS=secret,
    RCLONE_RETRIES="1",
    RCLONE_LOW_LEVEL_RETRIES="1",
)
remote = ":webdav:"
source, back = os.path.join(home, "source"), os.path.join(home, "back")
names = ["plain", "with space", "ünï", "100%", "a+b&c=d#e?f", "semi;colon", "quote'\"", "deep/er/and deeper/file", "empty"]
for number, name in enumerate(names):
    where = os.path.join(source, name)
    os.makedirs(os.path.dirname(where), exist_ok=True)
    with open(where, "wb") as file:
        file.write(b"" if name == "empty" else f"{number} {name}".encode() * 1000)
    os.utime(where, (1_400_000_000 + number, 1_400_000_000 + number))
shutil.copy(path, os.path.join(source, "large"))

run("copy", source, remote + "rclone")
run("check", "--download", source, remote + "rclone")
listed = json.loads(run("lsjson", "-R", "--files-only", remote + "rclone"))
times = {entry["Path"]: entry["ModTime"] for entry in listed}
assert times["plain"].startswith("2014-05-13T16:53:20"), times["plain"]
assert set(times) == {*names, "large"}, times
print("rclone: the tree is there", flush=True)

# Nothing has changed, so nothing is sent.
again = subprocess.run(
    [rclone, "--config", os.path.join(home, "none"), "copy", "--error-on-no-transfer", source, remote + "rclone"],
    stderr=subprocess.DEVNULL,
)
assert again.returncode == 9, f"a second copy sent something: {again.returncode}"

run("copyto", remote + "rclone/large", remote + "rclone/deep/copy")
run("moveto", remote + "rclone/deep", remote + "rclone/moved")
run("move", remote + "rclone", remote + "elsewhere")
shutil.move(os.path.join(source, "deep"), os.path.join(source, "moved"))
shutil.copy(path, os.path.join(source, "moved", "copy"))
run("copy", remote + "elsewhere", back)
run("check", "--download", source, remote + "elsewhere")
subprocess.run(["diff", "-r", source, back], check=True)
run("purge", remote + "elsewhere")
assert "elsewhere" not in run("lsf", remote)
print("rclone: moved, copied, taken back, removed", flush=True)
