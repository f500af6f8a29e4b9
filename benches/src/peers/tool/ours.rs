//! `backup-client` and `backup-server`: over TLS on the loopback device, into a vault of the account.

use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::process::{Client, Outcome, Server};

use super::Tool;
use crate::peers::cost::{Cost, Wire, measure};
use crate::rig::program;

struct Ours {
    server: Server,
    client: Client,
}

pub fn open(home: &Path) -> Outcome<Box<dyn Tool>> {
    let server = Server::start(&program("backup-server")?, home)?;
    let client = Client::new(&program("backup-client")?, &home.join("client"));
    client.run(&["connect", &server.enroll("bench")?])?;
    Ok(Box::new(Ours { server, client }))
}

impl Ours {
    fn run(&self, arguments: &[&std::ffi::OsStr]) -> Outcome<Cost> {
        let measured = measure(self.client.command(arguments), Some(self.server.id()))?;
        let last = measured.output.lines().last().unwrap_or_default();
        let event: Value = serde_json::from_str(last).map_err(|error| format!("{last:?}: {error}"))?;
        let [sent, received] = ["bytes_sent", "bytes_received"].map(|name| event[name].as_u64());
        let (sent, received) = sent.zip(received).ok_or_else(|| format!("no bytes are counted in {last}"))?;
        Ok(Cost { wire: Some(Wire { sent, received }), ..measured.cost })
    }
}

impl Tool for Ours {
    fn back_up(&mut self, source: &Path) -> Outcome<Cost> {
        self.run(&["backup".as_ref(), source.as_os_str()])
    }

    fn restore(&mut self, source: &Path, target: &Path) -> Outcome<(Cost, PathBuf)> {
        let from = format!("latest:{}", source.display());
        Ok((self.run(&["restore".as_ref(), from.as_ref(), target.as_os_str()])?, target.to_owned()))
    }

    fn repository(&self) -> PathBuf {
        self.server.data_dir()
    }
}
