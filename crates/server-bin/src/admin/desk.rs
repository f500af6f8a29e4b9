//! [`Desk`]: does what an [`Order`] says, on an open data directory, with or without a server around it.

use proto::{EnrolmentString, ServerIdentity};
use store::{DeviceId, Role, Status, StoreError, VaultUsage};

use crate::admin::{AccountItem, DeviceItem, EnrolmentItem, Item, Order, RunningItem, StatusItem};
use crate::clock;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, failed, keys_dir};
use crate::host_port::HostPort;
use crate::identity::Identity;
use crate::service::Revoked;

/// Does what orders say.
pub(crate) struct Desk<'a> {
    /// The open data directory.
    pub(crate) home: &'a Home,
    /// The server around it, when it runs.
    pub(crate) live: Option<Live<'a>>,
}

/// What only a running server has.
#[derive(Clone, Copy)]
pub(crate) struct Live<'a> {
    /// Ends connections.
    pub(crate) revoked: &'a Revoked,
    /// Where it listens.
    pub(crate) address: &'a HostPort,
    /// How it is doing.
    pub(crate) running: &'a dyn Fn() -> RunningItem,
}

impl Desk<'_> {
    /// Does what `order` says; what comes of it goes to `emit`.
    ///
    /// # Errors
    /// [`Failure`]; nothing was changed then.
    pub(crate) fn perform(&self, order: Order, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        match order {
            Order::Status => emit(Item::Status(Box::new(self.status()?))),
            Order::Enroll { account, device, address, plain } => {
                emit(Item::Enrolment(self.enroll(account, device, address, plain)?));
            }
            Order::AddAccount { name } => {
                self.home.add_account(&name, Role::Member)?;
                tracing::info!(account = ?name, "account added");
                self.list_accounts(Some(&name), emit)?;
            }
            Order::ListAccounts => self.list_accounts(None, emit)?,
            Order::ListDevices { account } => self.list_devices(account.as_deref(), emit)?,
            Order::RevokeDevice { device } => emit(Item::Device(self.revoke(&device)?)),
        }
        Ok(())
    }

    fn status(&self) -> Result<StatusItem, Failure> {
        let store = &self.home.store;
        let status = store.status().map_err(|error| failed("cannot read the catalog", &error))?;
        let totals = Totals::of(&status.packs);
        let Status { accounts, devices, vaults, snapshots, free_bytes, .. } = status;
        Ok(StatusItem {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: self.home.settings.data_dir.display().to_string(),
            running: self.live.map(|live| (live.running)()),
            halted: store.halted().map(str::to_owned),
            deletion_latch: store.deletion_latch().map(str::to_owned),
            accounts,
            devices,
            vaults,
            snapshots,
            packs: totals.packs,
            bytes_stored: totals.bytes,
            objects_stored: totals.objects,
            free_bytes,
            is_full: free_bytes < self.home.settings.min_free,
        })
    }

    fn enroll(
        &self,
        account: String,
        device: String,
        address: Option<HostPort>,
        plain: bool,
    ) -> Result<EnrolmentItem, Failure> {
        let address = address.map_or_else(|| self.default_address(), Ok)?;
        let identity = self.identity(&address, plain)?;
        let secret = self.home.invite(&account, &device)?;
        let HostPort { host, port } = address.clone();
        let enrolment = EnrolmentString { host, port, identity, secret };
        tracing::info!(account = ?account, device = ?device, "enrolment string made");
        Ok(EnrolmentItem {
            enrolment: enrolment.to_string(),
            account,
            device,
            address,
            expires_in_s: self.home.settings.enrolment_lifetime.as_secs(),
        })
    }

    fn default_address(&self) -> Result<HostPort, Failure> {
        let settings = &self.home.settings;
        if let Some(address) = &settings.address {
            return Ok(address.clone());
        }
        let listens = self.live.map_or_else(|| HostPort::from(settings.listen), |live| live.address.clone());
        let is_unspecified = listens.host.parse().is_ok_and(|host: std::net::IpAddr| host.is_unspecified());
        if is_unspecified || listens.port == 0 {
            return Err(Failure::usage("it is not known where clients find this server")
                .hint("say --address HOST:PORT, or put a line `address = \"HOST:PORT\"` into server.toml"));
        }
        Ok(listens)
    }

    fn identity(&self, address: &HostPort, plain: bool) -> Result<ServerIdentity, Failure> {
        if plain {
            if !self.home.settings.plain_http {
                return Err(Failure::usage("this server does not speak plain HTTP")
                    .hint("start it with --plain-http, or leave --plain away: TLS needs no further preparation"));
            }
            if !address.is_loopback() {
                let message = format!("without TLS a client may only connect on the same machine, not to {address}");
                return Err(Failure::new(FailureKind::NotAllowed, message));
            }
            return Ok(ServerIdentity::Plain);
        }
        match Identity::read_pin(&keys_dir(&self.home.settings))? {
            Some(pin) => Ok(ServerIdentity::Pinned(pin)),
            None => Ok(ServerIdentity::Pinned(self.home.identity()?.pin())),
        }
    }

    fn list_accounts(&self, only: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let store = &self.home.store;
        let unreadable = |error: StoreError| failed("cannot read the catalog", &error);
        for account in store.accounts().map_err(unreadable)? {
            if only.is_some_and(|name| name != account.name) {
                continue;
            }
            let devices = store.devices(account.id).map_err(unreadable)?;
            let mut snapshots = 0;
            let mut bytes_stored = 0;
            for vault in store.vaults(account.id).map_err(unreadable)? {
                let usage: VaultUsage = store.vault_usage(vault.id).map_err(unreadable)?;
                snapshots += usage.snapshots;
                bytes_stored += Totals::of(&usage.packs).bytes;
            }
            emit(Item::Account(AccountItem {
                role: match account.role {
                    Role::Admin => "admin",
                    Role::Member => "member",
                    Role::ReadOnly => "read-only",
                }
                .to_owned(),
                created_ms: clock::wire_ms(account.created),
                account: account.name,
                devices: devices.iter().filter(|device| device.revoked.is_none()).count() as u64,
                snapshots,
                bytes_stored,
            }));
        }
        Ok(())
    }

    fn list_devices(&self, only: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let unreadable = |error: StoreError| failed("cannot read the catalog", &error);
        let accounts = match only {
            Some(name) => vec![self.home.account(name)?],
            None => self.home.store.accounts().map_err(unreadable)?,
        };
        for account in accounts {
            for device in self.home.store.devices(account.id).map_err(unreadable)? {
                emit(Item::Device(device_item(device, account.name.clone())));
            }
        }
        Ok(())
    }

    fn revoke(&self, device: &str) -> Result<DeviceItem, Failure> {
        let id: DeviceId = device.parse().map_err(|_| {
            Failure::usage("a device's id has 16 hex digits").hint("`backup-server device list` shows all")
        })?;
        let store = &self.home.store;
        store.revoke_device(id, clock::now()).map_err(|error| match error {
            StoreError::NotFound { .. } => Failure::usage(format!("there is no device {id}")),
            error => failed("cannot revoke the device", &error),
        })?;
        if let Some(live) = self.live {
            live.revoked.add(id);
        }
        tracing::info!(device = %id, "device revoked");
        let device = store.device(id).map_err(|error| failed("cannot read the catalog", &error))?;
        let device = device.ok_or_else(|| Failure::usage(format!("there is no device {id}")))?;
        let accounts = store.accounts().map_err(|error| failed("cannot read the catalog", &error))?;
        let account = accounts.into_iter().find(|account| account.id == device.account);
        Ok(device_item(device, account.map(|account| account.name).unwrap_or_default()))
    }
}

fn device_item(device: store::Device, account: String) -> DeviceItem {
    DeviceItem {
        device: device.id.to_string(),
        name: device.name,
        account,
        created_ms: clock::wire_ms(device.created),
        last_seen_ms: device.last_seen.map(clock::wire_ms),
        revoked_ms: device.revoked.map(clock::wire_ms),
    }
}

/// Sums over packs that can be read.
#[derive(Default)]
struct Totals {
    packs: u64,
    bytes: u64,
    objects: u64,
}

impl Totals {
    fn of(packs: &[store::PackTotals]) -> Self {
        let readable = |totals: &&store::PackTotals| {
            matches!(totals.state, store::PackState::Sealed | store::PackState::Condemned)
        };
        packs.iter().filter(readable).fold(Self::default(), |sum, totals| Self {
            packs: sum.packs + totals.packs,
            bytes: sum.bytes + totals.bytes,
            objects: sum.objects + totals.objects,
        })
    }
}
