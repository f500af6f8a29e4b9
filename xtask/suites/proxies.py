"""Sends a file, and backs up, through nginx and Caddy with the configurations of docs/deploy."""

import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.request

address, token, file, deploy, programs, nginx, caddy = sys.argv[1:]
home = pathlib.Path(file).parent
server = address.removeprefix("http://")
digest = hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what, is_so):
    for _ in range(1200):
        if is_so():
            return
        time.sleep(0.05)
    sys.exit(f"{what}: not within a minute")


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def ask(method, url, token, body=None, length=None):
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"}, method=method)
    if method == "PROPFIND":
        request.add_header("Depth", "1")
    if length is not None:
        request.add_header("Content-Length", str(length))
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def configured(name, ports):
    text = (pathlib.Path(deploy) / name).read_text()
    for old, new in ports.items():
        assert old in text, f"{name} does not name {old}"
        text = text.replace(old, new)
    return text


def run(program, *arguments, **more):
    done = subprocess.run([os.path.join(programs, program), *arguments], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{program} {arguments}: {done.stderr}"
    return done.stdout.strip()


def through(name, port, base="", token=token):
    origin = f"http://127.0.0.1:{port}"
    url = origin + base
    with open(file, "rb") as body:
        put = json.loads(ask("PUT", f"{url}/api/v1/files/{name}", token, body, os.path.getsize(file)))
    assert put["href"] == f"{base}/api/v1/files/{name}", f"{name}: {put['href']}"
    back = ask("GET", origin + put["href"], token)
    assert hashlib.sha256(back).hexdigest() == digest, f"{name}: other bytes came back"
    page = ask("GET", f"{url}/", token).decode()
    script = re.search(r'src="([^"]*/assets/[^"]*)"', page)
    assert script and script[1].startswith(f"{base}/assets/"), f"{name}: no page"
    assert ask("GET", origin + script[1], token), f"{name}: no script"
    listed = ask("PROPFIND", f"{url}/dav/", token, b"").decode()
    assert f"<D:href>{base}/dav/{name}</D:href>" in listed, f"{name}: {listed}"
    print(f"{name}: a file, a page and a folder" + (f" below {base}" if base else ""))


def below(base):
    """Starts a server that is shown below a path; where it listens, and a token."""
    data, said = home / "below", home / "below.port"
    command = [os.path.join(programs, "backup-server"), "serve", "--data-dir", str(data), "--listen", "127.0.0.1:0"]
    command += ["--plain-http", "--any-file-system", "--base-path", base, "--port-file", str(said)]
    started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(home / "below.log", "w")))
    until("the server", lambda: said.exists() and said.read_text().strip() != "")
    token = run("backup-server", "token", "add", "below", "--scope", "admin", "--data-dir", str(data))
    return f"127.0.0.1:{said.read_text().strip()}", token


def backed_up(name, port, *more):
    data = next(path.parent for path in home.rglob("admin.sock"))
    place = ["--data-dir", str(data), "--address", f"127.0.0.1:{port}"]
    string = run("backup-server", "enroll", "--device", name, *place, *more)
    state = {"BACKUP_CLIENT_CONFIG_DIR": str(home / f"{name}.config"), "BACKUP_CLIENT_CACHE_DIR": str(home / f"{name}.cache")}
    source, target = home / f"{name}.source", home / f"{name}.target"
    source.mkdir()
    (source / "file").write_bytes(pathlib.Path(file).read_bytes())
    run("backup-client", "connect", string, env=state)
    run("backup-client", "backup", str(source), env=state)
    run("backup-client", "restore", f"latest:{source}", str(target), env=state)
    assert hashlib.sha256((target / "file").read_bytes()).hexdigest() == digest
    print(f"{name}: backed up and restored")


started = []
try:
    web, raw, strips = free_port(), free_port(), free_port()
    ports = {"127.0.0.1:8080": f"127.0.0.1:{web}", "127.0.0.1:8443": f"127.0.0.1:{raw}", "127.0.0.1:8765": server}
    head = f"load_module /usr/lib/nginx/modules/ngx_stream_module.so;\npid {home}/nginx.pid;\ndaemon off;\nevents {{}}\n"
    temporary = "".join(f"{what}_temp_path {home}/nginx.{what};" for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    # Knows WebSockets, and no other upgrades.
    stripping = f"""
    map $http_upgrade $upgrade_to {{ default ''; websocket websocket; }}
    server {{
        listen 127.0.0.1:{strips};
        location / {{
            proxy_pass http://{server};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $upgrade_to;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
"""
    lower, lower_token = below("/to/backup")
    shown = configured("nginx.conf", ports)
    site = shown[shown.index("    server {", shown.index("http {")) : shown.rindex("}")]
    passing = free_port()
    lower_site = site.replace(f"127.0.0.1:{web}", f"127.0.0.1:{passing}").replace(server, lower)
    lower_site = lower_site.replace("location / {", "location /to/backup/ {")
    stripping += lower_site
    text = shown.replace("http {", f"http {{ access_log off; {temporary}{stripping}")
    (home / "nginx.conf").write_text(head + text)
    started.append(subprocess.Popen([nginx, "-c", str(home / "nginx.conf"), "-e", str(home / "nginx.log"), "-p", str(home)]))
    until("nginx", lambda: all(map(listens, [web, raw, strips, passing])))
    through("nginx", web)
    through("nginx-below", passing, "/to/backup", lower_token)
    backed_up("nginx-stream", raw)
    backed_up("nginx-websocket", strips, "--plain")

    web = free_port()
    shown = configured("Caddyfile", {"127.0.0.1:8080": f"127.0.0.1:{web}", "127.0.0.1:8765": server})
    taking = free_port()
    lower_site = shown.replace(f"127.0.0.1:{web}", f"127.0.0.1:{taking}").replace(server, lower)
    lower_site = lower_site.replace("reverse_proxy", "handle_path /to/backup/* {\nreverse_proxy") + "}\n"
    (home / "Caddyfile").write_text("{\n\tadmin off\n}\n" + shown + lower_site)
    log = open(home / "caddy.log", "w")
    state = {**os.environ, "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    started.append(subprocess.Popen([caddy, "run", "--config", str(home / "Caddyfile")], stderr=log, env=state))
    until("caddy", lambda: listens(web) and listens(taking))
    through("caddy", web)
    through("caddy-below", taking, "/to/backup", lower_token)
finally:
    for process in started:
        process.terminate()
        process.wait()
