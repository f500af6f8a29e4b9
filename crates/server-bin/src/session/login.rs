//! Who the client is: [`authenticate`] looks at a device's token, [`enroll`] makes a device of whoever has a one-time
//! secret.
//!
//! An unknown device and a wrong secret cost the same work and get the same answer.

use std::net::IpAddr;

use proto::{AccountName, Authenticate, Authenticated, DeviceName, Enroll, Enrolled, FailCode, Failure, Secret};
use store::{AccountId, Device, DeviceId, StoreError};

use crate::access::Who;
use crate::audit::{Actor, Event};
use crate::clock;
use crate::keys::{is_same_hash, random};
use crate::live::{Activity, ActivityKind, DeviceName as DeviceOf};
use crate::service::Service;
use crate::session::refusal;

/// A device that has shown its token.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Which device.
    pub(super) device: DeviceId,
    /// What it is called.
    pub(super) device_name: String,
    /// Whose it is.
    pub(super) account: AccountId,
    /// Whose it is, for people.
    pub(super) account_name: String,
    /// What it is to the rules of access.
    pub(super) who: Who,
    /// Who it is to the audit log.
    pub(super) actor: Actor,
}

impl Client {
    /// The device, for people.
    pub(super) fn device_name(&self) -> DeviceOf {
        DeviceOf { id: self.device, name: self.device_name.clone() }
    }
}

/// Looks at a token.
pub(super) fn authenticate(
    service: &Service,
    token: &Authenticate,
    address: IpAddr,
) -> Result<(Client, Authenticated), Failure> {
    let id = DeviceId::from_bytes(*token.device.as_bytes());
    let store = &service.home.store;
    let found = store.device(id).map_err(|error| refusal::of_store("looking for a device", &error))?;
    let shown = service.home.keys.token_hash(&token.secret);
    let kept = found.as_ref().map_or([0; 32], |device| device.token_hash);
    let device = found.filter(|_| is_same_hash(&shown, &kept)).ok_or_else(|| {
        Failure::new(FailCode::Authentication, "the device is not known here, or its secret is not right")
    })?;
    if device.revoked.is_some() {
        // Only whoever has the secret gets to know.
        return Err(Failure::new(FailCode::Authentication, "this device's access was taken away; enroll it again"));
    }
    if device.is_suspended {
        tracing::warn!(device = %id, "a suspended device was not let in");
        let text = "this device is suspended: the server's catalog was put back from an older copy, in which devices that \
                    were revoked may be valid again. Its administrator lets it in with `backup-server device confirm`";
        return Err(Failure::new(FailCode::Authentication, text));
    }
    let client = client(service, device, address)?;
    match store.touch_device(id, clock::now()) {
        // Whoever restores need not wait for room.
        Err(error) if error.kind() == store::ErrorKind::Full => {
            tracing::debug!(%error, "when a device was here is not noted");
        }
        touched => touched.map_err(|error| refusal::of_store("noting a device", &error))?,
    }
    let answer = Authenticated {
        device_name: DeviceName::lossy(&client.device_name),
        account: AccountName::lossy(&client.account_name),
    };
    Ok((client, answer))
}

/// Makes a device.
pub(super) fn enroll(service: &Service, request: &Enroll, address: IpAddr) -> Result<(Client, Enrolled), Failure> {
    let secret = Secret::new(random().map_err(|error| refusal::internal("drawing a token", &error))?);
    let invitation = service.home.keys.enrolment_hash(&request.secret);
    let token_hash = service.home.keys.token_hash(&secret);
    let store = &service.home.store;
    let device = store.redeem_enrolment(&invitation, &token_hash, clock::now()).map_err(|error| match error {
        StoreError::NotFound { .. } => Failure::new(
            FailCode::Authentication,
            "the enrolment string is not known here, was used, or is too old; ask for a new one",
        ),
        error => refusal::of_store("enrolling a device", &error),
    })?;
    let client = client(service, device, address)?;
    let subject = format!("{} {}", client.device, client.device_name);
    client.actor.note(store, Event::DeviceEnrolled, &client.account_name, &subject);
    service.feed.push(Activity {
        account: Some((client.account, client.account_name.clone())),
        device: Some(client.device_name()),
        ..Activity::of_server(ActivityKind::DeviceEnrolled, address.to_string())
    });
    let answer = Enrolled {
        device: proto::DeviceId::from_bytes(*client.device.as_bytes()),
        secret,
        device_name: DeviceName::lossy(&client.device_name),
        account: AccountName::lossy(&client.account_name),
    };
    Ok((client, answer))
}

fn client(service: &Service, device: Device, address: IpAddr) -> Result<Client, Failure> {
    let account = service.home.store.account(device.account);
    let account = account
        .map_err(|error| refusal::of_store("reading accounts", &error))?
        .ok_or_else(|| Failure::new(FailCode::NotAllowed, "the device's account is gone"))?;
    if account.disabled.is_some() {
        return Err(Failure::new(FailCode::Authentication, "the device's account is disabled"));
    }
    Ok(Client {
        actor: Actor::known(&account.name, "device", address),
        who: Who::Device { role: account.role, scope: device.scope },
        device: device.id,
        device_name: device.name,
        account: account.id,
        account_name: account.name,
    })
}
