//! Who the client is: [`authenticate`] looks at a device's token, [`enroll`] makes a device of whoever has a one-time
//! secret.
//!
//! An unknown device and a wrong secret cost the same work and get the same answer.

use proto::{AccountName, Authenticate, Authenticated, DeviceName, Enroll, Enrolled, FailCode, Failure, Secret};
use store::{AccountId, Device, DeviceId, StoreError};

use crate::clock;
use crate::keys::{is_same_hash, random};
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
}

/// Looks at a token.
pub(super) fn authenticate(service: &Service, token: &Authenticate) -> Result<(Client, Authenticated), Failure> {
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
    store.touch_device(id, clock::now()).map_err(|error| refusal::of_store("noting a device", &error))?;
    let client = client(service, device)?;
    let answer = Authenticated {
        device_name: DeviceName::lossy(&client.device_name),
        account: AccountName::lossy(&client.account_name),
    };
    Ok((client, answer))
}

/// Makes a device.
pub(super) fn enroll(service: &Service, request: &Enroll) -> Result<(Client, Enrolled), Failure> {
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
    let client = client(service, device)?;
    tracing::info!(device = %client.device, name = ?client.device_name, account = ?client.account_name, "device enrolled");
    let answer = Enrolled {
        device: proto::DeviceId::from_bytes(*client.device.as_bytes()),
        secret,
        device_name: DeviceName::lossy(&client.device_name),
        account: AccountName::lossy(&client.account_name),
    };
    Ok((client, answer))
}

fn client(service: &Service, device: Device) -> Result<Client, Failure> {
    let accounts = service.home.store.accounts().map_err(|error| refusal::of_store("reading accounts", &error))?;
    let account = accounts
        .into_iter()
        .find(|account| account.id == device.account)
        .ok_or_else(|| Failure::new(FailCode::NotAllowed, "the device's account is gone"))?;
    Ok(Client { device: device.id, device_name: device.name, account: account.id, account_name: account.name })
}
