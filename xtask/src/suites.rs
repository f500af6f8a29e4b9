//! `cargo xtask suites`: programs of others against our server, and our files for theirs. What comes from PyPI and npm is
//! installed into the target folder; litmus, rclone, nginx, Caddy, promtool, systemd and Chromium are packages of the
//! system.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::process::Server;

use crate::run::{Outcome, build_as_tests, run as run_command, target_dir, workspace};

type Suite = fn(&str, &str, &str) -> Outcome<Command>;

/// Each makes its command, for a server's address, a token and a file to send.
const SUITES: [(&str, Suite); 10] = [
    ("tuspy", tuspy),
    ("tus-js", tus_js),
    ("litmus", litmus),
    ("rclone", rclone),
    ("promtool", promtool),
    ("systemd", systemd),
    ("proxies", proxies),
    ("sslyze", sslyze),
    ("schemathesis", schemathesis),
    ("lighthouse", lighthouse),
];
/// Those that take seconds, and the programs and files without which they cannot run.
const FAST: [(&str, &[&str]); 5] = [
    ("tus-js", &[]),
    ("litmus", &["litmus"]),
    ("rclone", &["rclone", "python3"]),
    ("promtool", &["promtool", "curl"]),
    ("proxies", &["nginx", NGINX_STREAM, "caddy", "python3"]),
];
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const TUSPY: &str = "tuspy==1.1.0";
const SSLYZE: &str = "sslyze==6.3.1";
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
const TUS_JS: &str = "tus-js-client@4.3.1";
/// Newer ones want a newer Node.js.
const LIGHTHOUSE: &str = "lighthouse@12.8.2";
/// Parts of the file are cut from this; nothing in it comes twice.
const FILE_LEN: usize = 40 << 20;

/// Runs the suites that are named, or all.
pub fn run(names: &[&str]) -> Outcome {
    let known: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no suite {unknown}; there are {}", known.join(", ")));
    }
    run_command(build_as_tests())?;
    for (name, suite) in SUITES {
        if names.is_empty() || names.contains(&name) {
            println!("suite {name}");
            run_one(suite).map_err(|error| format!("suite {name}: {error}"))?;
        }
    }
    Ok(())
}

/// Runs those that take seconds. One whose program is missing is left out, unless nothing may be.
pub fn run_fast() -> Outcome {
    let mut names = Vec::new();
    for (name, programs) in FAST {
        match programs.iter().try_for_each(|program| installed(program).map(|_| ())) {
            Ok(()) => names.push(name),
            Err(missing) if std::env::var_os("DELTA_BACKUP_TEST_ALL").is_none() => {
                println!("suite {name} is left out: {missing}");
            }
            Err(missing) => return Err(format!("suite {name}: {missing}")),
        }
    }
    run(&names)
}

fn run_one(suite: Suite) -> Outcome {
    let home = tempfile::Builder::new().prefix("delta-backup-suite.").tempdir().map_err(|error| error.to_string())?;
    let program = target_dir().join("debug/backup-server");
    let mut server = Server::start_with(&program, home.path(), &["--plain-http"])?;
    let port = fs::read_to_string(home.path().join("port")).map_err(|error| error.to_string())?;
    let address = format!("http://127.0.0.1:{}", port.trim().rsplit(':').next().unwrap_or_default());
    let mut adding = Command::new(&program);
    adding
        .args(["token", "add", "suite", "--account", "admin", "--scope", "admin", "--data-dir"])
        .arg(server.data_dir());
    let token = crate::run::read(adding)?;
    let file = home.path().join("file");
    let mut bytes = vec![0; FILE_LEN];
    blake3::Hasher::new().update(b"a file for the suites").finalize_xof().fill(&mut bytes);
    fs::write(&file, bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = suite(&address, token.trim(), &file.to_string_lossy())?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let mut orders = child.stdin.take().expect("it was asked for");
    let said = BufReader::new(child.stdout.take().expect("it was asked for"));
    for line in said.lines() {
        match line.map_err(|error| error.to_string())?.as_str() {
            "kill" => {
                server.kill()?;
                server.restart()?;
                writeln!(orders, "back").map_err(|error| error.to_string())?;
            }
            line => println!("  {line}"),
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{status}; the server said:\n{}", server.log())) }
}

fn tuspy(address: &str, token: &str, file: &str) -> Outcome<Command> {
    let mut command = Command::new(python_with("tuspy", TUSPY)?.join("python"));
    command.arg(workspace().join("xtask/suites/tuspy.py")).args([address, token, file]);
    Ok(command)
}

fn tus_js(address: &str, token: &str, file: &str) -> Outcome<Command> {
    let mut command = node_with("node", TUS_JS, "tus.mjs")?;
    command.args([address, token, file]);
    Ok(command)
}

/// Accessibility and best practices of the application's screens.
fn lighthouse(address: &str, _token: &str, file: &str) -> Outcome<Command> {
    let home = Path::new(file).parent().unwrap_or(Path::new("/"));
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| installed("chromium"), |path| Ok(path.into()))?;
    let admin = |words: &[&str]| {
        let mut command = Command::new(target_dir().join("debug/backup-server"));
        command.args(words).arg("--data-dir").arg(home.join("server"));
        crate::run::read(command)
    };
    let password = admin(&["account", "password", "admin"])?;
    let enrolment = admin(&["enroll", "--device", "laptop"])?;
    let mut command = node_with("lighthouse", LIGHTHOUSE, "lighthouse.mjs")?;
    command.args([address, password.trim()]).arg(home).arg(chromium);
    command.arg(target_dir().join("debug/backup-client")).arg(enrolment.trim());
    Ok(command)
}

/// A script of ours, run by Node.js beside a package.
fn node_with(name: &str, package: &str, script: &str) -> Outcome<Command> {
    let folder = tools().join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    install.arg(&folder).arg(package);
    run_command(install)?;
    // Node looks for packages beside the script.
    let copy = folder.join(script);
    fs::copy(workspace().join("xtask/suites").join(script), &copy).map_err(|error| error.to_string())?;
    let mut command = Command::new("node");
    command.arg(copy);
    Ok(command)
}

/// All five groups, without a failure, and without a warning but one: a DELETE whose address ends in a fragment is done, since
/// hyper hands addresses over without; what it removes is in the trash. Its log is left beside the file.
fn litmus(address: &str, token: &str, file: &str) -> Outcome<Command> {
    let mut command = Command::new("sh");
    let script = "\"$0\" \"$1\" any \"$2\" > said || is_bad=1; cat said; test -z \"$is_bad\" || exit 1; \
                  ! grep -E 'WARNING|FAIL' said | grep -qv ' delete_fragment' && test $(grep -c '^<- summary .* 0 failed' said) -eq 5";
    command.args(["-c", script]).arg(installed("litmus")?).args([&format!("{address}/dav/"), token]);
    command.current_dir(Path::new(file).parent().unwrap_or(Path::new("/")));
    Ok(command)
}

fn rclone(address: &str, token: &str, file: &str) -> Outcome<Command> {
    let mut command = Command::new("python3");
    command.arg(workspace().join("xtask/suites/rclone.py")).args([address, token, file]).arg(installed("rclone")?);
    Ok(command)
}

/// Names and help of metrics.
fn promtool(address: &str, _token: &str, _file: &str) -> Outcome<Command> {
    let mut command = Command::new("sh");
    let script = "set -e; curl -sSf \"$1/metrics\" > metrics; \"$0\" check metrics < metrics; wc -l metrics";
    command.args(["-c", script]).arg(installed("promtool")?).arg(address);
    command.current_dir(target_dir());
    Ok(command)
}

/// The units of `docs/deploy`: sound, and exposed to at most 2.0 of 10.
fn systemd(_address: &str, _token: &str, file: &str) -> Outcome<Command> {
    let home = Path::new(file).parent().unwrap_or(Path::new("/"));
    let program = target_dir().join("debug/backup-server");
    for name in ["backup-server.service", "backup-server.socket"] {
        let at = |error: std::io::Error| format!("{name}: {error}");
        let unit = fs::read_to_string(workspace().join("docs/deploy").join(name)).map_err(at)?;
        let unit = unit.replace("/usr/local/bin/backup-server", &program.to_string_lossy());
        fs::write(home.join(name), unit.replace("=backup-server\n", "=root\n")).map_err(at)?;
    }
    let mut command = Command::new("sh");
    let script = "set -e; \"$0\" verify --man=no ./backup-server.service ./backup-server.socket; \"$0\" security \
                  --offline=true --threshold=20 ./backup-server.service > exposed; tail -n 1 exposed";
    command.args(["-c", script]).arg(installed("systemd-analyze")?).current_dir(home);
    Ok(command)
}

/// The files of `docs/deploy` for nginx and Caddy.
fn proxies(address: &str, token: &str, file: &str) -> Outcome<Command> {
    let mut command = Command::new("python3");
    command.arg(workspace().join("xtask/suites/proxies.py")).args([address, token, file]);
    command.arg(workspace().join("docs/deploy")).arg(target_dir().join("debug"));
    command.arg(installed("nginx")?).arg(installed("caddy")?);
    Ok(command)
}

/// Mozilla's configuration "intermediate".
fn sslyze(address: &str, _token: &str, _file: &str) -> Outcome<Command> {
    let mut command = Command::new(python_with("sslyze", SSLYZE)?.join("python"));
    command.arg(workspace().join("xtask/suites/tls.py")).arg(address.trim_start_matches("http://"));
    Ok(command)
}

/// Requests that the OpenAPI document allows and forbids.
fn schemathesis(address: &str, token: &str, _file: &str) -> Outcome<Command> {
    let mut command = Command::new(python_with("schemathesis", SCHEMATHESIS)?.join("schemathesis"));
    command.arg("--config-file").arg(workspace().join("xtask/suites/schemathesis.toml"));
    command.args(["run", &format!("{address}/api/v1/openapi.json"), "--header"]);
    command.arg(format!("Authorization: Bearer {token}"));
    // Tokens that nobody has, many in a row, are slowed down (429): who gets in where, the table of access and its test hold.
    command
        .args(["--checks", "all", "--exclude-checks", "ignored_auth", "--seed", "1", "--no-color"])
        .current_dir(target_dir());
    Ok(command)
}

/// The folder of programs of a Python that has a package.
fn python_with(name: &str, package: &str) -> Outcome<PathBuf> {
    let folder = tools().join(name);
    if !folder.join("lib").exists() {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&folder);
        run_command(venv)?;
    }
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
    run_command(install)?;
    Ok(folder.join("bin"))
}

/// A program of the system, or a file at a path.
fn installed(name: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    let package = match name {
        "promtool" => "prometheus",
        "systemd-analyze" => "systemd",
        "nginx" | NGINX_STREAM => "nginx-light libnginx-mod-stream",
        name => name,
    };
    found.ok_or_else(|| format!("{name} is not here: apt-get install {package}"))
}

fn tools() -> PathBuf {
    target_dir().join("tools/suites")
}
