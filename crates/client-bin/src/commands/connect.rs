//! `connect`: makes this machine a device of a server.

use client::{ClientError, Session};
use proto::EnrolmentString;
use serde_json::json;

use super::Context;
use crate::failure::Exit;
use crate::machine;

pub(super) fn connect(context: &mut Context, enrolment: &str) -> Result<Exit, ClientError> {
    let enrolment: EnrolmentString = enrolment.parse().map_err(|error| ClientError::Usage(format!("{error}")))?;
    let connection = Session::enroll(&enrolment, &machine::host())?;
    connection.save(&context.folders)?;
    let (address, device, account) = (connection.address(), &connection.device_name, &connection.account);
    context.output.event(&json!({
        "event": "connected", "server": address, "device": device, "account": account,
    }))?;
    context.output.summary(&format!("connected to {address} as device {device} of account {account}"))?;
    context.output.summary("next: backup-client backup PATH")?;
    Ok(Exit::Done)
}
