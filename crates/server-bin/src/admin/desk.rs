//! [`Desk`]: does what an [`Order`] says, on an open data directory, with or without a server around it.

use proto::{EnrolmentString, ServerIdentity};
use store::{Account, ApiToken, AuditQuery, DeviceId, Status, StoreError, TokenId, VaultUsage};

use crate::admin::upkeep::Upkeep;
use crate::admin::{
    AccountItem, AlarmItem, AuditItem, DeviceItem, EnrolmentItem, Item, Order, RunningItem, SetupLinkItem, StatusItem,
    TokenItem, VerifyScope,
};
use crate::args::TokenScope;
use crate::audit::{Actor, Event};
use crate::catalog_backup;
use crate::clock;
use crate::failure::{Failure, FailureKind};
use crate::home::{Home, failed, keys_dir};
use crate::host_port::HostPort;
use crate::identity::Identity;
use crate::lan;
use crate::mirror::{self, MirrorRequest};
use crate::porter::{Porter, role_name};
use crate::service::{Revoked, Service};

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
    /// What all its connections share.
    pub(crate) service: &'a Service,
    /// Whether to go on with something long: the server is not stopping, and whoever asked still listens.
    pub(crate) is_wanted: &'a dyn Fn() -> bool,
}

impl Desk<'_> {
    /// Does what `order` says; what comes of it goes to `emit`.
    ///
    /// # Errors
    /// [`Failure`]; unless it is of kind `Integrity`, nothing was changed then that cannot be done again.
    pub(crate) fn perform(&self, order: Order, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        match order {
            Order::Status => emit(Item::Status(Box::new(self.status()?))),
            Order::Enroll { account, device, scope, address, plain } => {
                emit(Item::Enrolment(self.enroll(account.as_deref(), device, scope, address, plain)?));
            }
            Order::AddAccount { name, role } => {
                self.porter().add_account(&name, role.into())?;
                self.list_accounts(Some(&name), emit)?;
            }
            Order::ListAccounts => self.list_accounts(None, emit)?,
            Order::SetPassword { account, hash } => {
                let set = self.porter().set_password(&self.home.account(&account)?, &hash);
                set.map_err(|error| failed("cannot set the password", &error))?;
            }
            Order::SetRole { account, role } => {
                let set = self.porter().set_role(&self.home.account(&account)?, role.into());
                set.map_err(|error| failed("cannot set the role", &error))?;
                self.list_accounts(Some(&account), emit)?;
            }
            Order::SetDisabled { account, is_disabled } => {
                let set = self.porter().set_disabled(&self.home.account(&account)?, is_disabled);
                set.map_err(|error| failed("cannot change the account", &error))?;
                self.list_accounts(Some(&account), emit)?;
            }
            Order::SetQuota { account, quota_bytes } => {
                let set = self.porter().set_quota(&self.home.account(&account)?, quota_bytes);
                set.map_err(|error| failed("cannot set the quota", &error))?;
                self.list_accounts(Some(&account), emit)?;
            }
            Order::MakeSetupLink { account } => {
                let account = self.home.account_or_first(account.as_deref())?;
                let listens =
                    self.live.map_or_else(|| HostPort::from(self.home.settings.listen), |live| live.address.clone());
                let link = self.porter().setup_link(&account, &listens)?;
                let expires_ms = clock::wire_ms(link.expires);
                emit(Item::SetupLink(SetupLinkItem { account: account.name, setup_link: link.into_url(), expires_ms }));
            }
            Order::RemoveSecondFactor { account } => {
                let removed = self.porter().remove_second_factor(&self.home.account(&account)?);
                if !removed.map_err(|error| failed("cannot remove the second factor", &error))? {
                    return Err(Failure::usage(format!("the account `{account}` has no second factor")));
                }
                self.list_accounts(Some(&account), emit)?;
            }
            Order::ShowAudit { event, account, limit } => self.show_audit(event, account.as_deref(), limit, emit)?,
            Order::AddToken { account, name, scope, expires_in_ms } => {
                emit(Item::Token(self.add_token(account.as_deref(), &name, scope, expires_in_ms)?));
            }
            Order::ListTokens { account } => self.list_tokens(account.as_deref(), emit)?,
            Order::RevokeToken { token } => emit(Item::Token(self.revoke_token(&token)?)),
            Order::ConfirmTokens { token } => self.confirm_tokens(token.as_deref(), emit)?,
            Order::AddShare(share) => emit(Item::Share(Box::new(self.add_share(&share)?))),
            Order::ListShares { account } => self.list_shares(account.as_deref(), emit)?,
            Order::RevokeShare { share } => emit(Item::Share(Box::new(self.revoke_share(&share)?))),
            Order::ListDevices { account } => self.list_devices(account.as_deref(), emit)?,
            Order::RevokeDevice { device } => emit(Item::Device(self.revoke(&device)?)),
            Order::ConfirmDevices { device } => self.confirm_devices(device.as_deref(), emit)?,
            Order::CollectGarbage { now, grace_ms, dry_run } => self.collect_garbage(now, grace_ms, dry_run, emit)?,
            Order::Verify { scope } => self.verify(&scope, emit)?,
            Order::Repair { dry_run } => self.upkeep().repair(dry_run, emit)?,
            Order::Mirror { request } => self.mirror(&request, emit)?,
            Order::BackUpCatalog => emit(Item::CatalogBackup(catalog_backup::make(self.home)?.item())),
            Order::ListCatalogBackups => {
                for backup in catalog_backup::list_everywhere(&self.home.settings)? {
                    emit(Item::CatalogBackup(backup.item()));
                }
            }
            Order::SetRetention { chain, policy } => self.set_retention(chain.as_deref(), policy.as_ref(), emit)?,
            Order::ShowRetention { chain } => self.show_retention(chain.as_deref(), emit)?,
            Order::SimulateRetention { chain, policy } => {
                self.simulate_retention(chain.as_deref(), policy.as_ref(), emit)?;
            }
            Order::RunRetention { chain, policy, is_large_confirmed } => {
                self.run_retention(chain.as_deref(), policy.as_ref(), is_large_confirmed, emit)?;
            }
            Order::ExportSettings => emit(Item::CatalogSettings(Box::new(self.catalog_settings()?))),
            Order::ImportSettings { settings, dry_run } => self.import_settings(&settings, dry_run, emit)?,
            Order::ConfirmClock => self.confirm_clock(emit)?,
            Order::ConfirmChange { chain } => self.confirm_change(chain.as_deref(), emit)?,
        }
        Ok(())
    }

    /// Whoever gives orders here may run commands on this machine.
    pub(super) fn porter(&self) -> Porter<'_> {
        Porter { home: self.home, revoked: self.live.map(|live| live.revoked), actor: Actor::command() }
    }

    /// Tells the newest lines of the audit log, oldest first.
    fn show_audit(
        &self,
        event: Option<Event>,
        account: Option<&str>,
        limit: u32,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let event = event.map(Event::name);
        let query = AuditQuery { before: None, event: event.as_deref(), name: account, limit };
        let entries = self.home.store.audit(&query).map_err(|error| failed("cannot read the audit log", &error))?;
        for entry in entries.into_iter().rev() {
            emit(Item::Audit(AuditItem {
                number: entry.number,
                at_ms: clock::wire_ms(entry.at),
                actor: entry.actor,
                means: entry.means,
                address: entry.address,
                what: entry.event,
                subject: entry.subject,
                detail: entry.detail,
            }));
        }
        Ok(())
    }

    fn verify(&self, scope: &VerifyScope, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        self.upkeep().verify(scope, &mut |item| {
            if let (Item::Verified(sum), Some(live)) = (&item, self.live) {
                live.service.feed.push(sum.into());
            }
            emit(item);
        })
    }

    /// Brings a folder in step with a drive or a chain. That what is stored lies in plain files then goes into the audit log.
    fn mirror(&self, request: &MirrorRequest, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        if !request.is_dry_run {
            let (source, target) = (&request.source, request.target.display().to_string());
            Actor::command().note(&self.home.store, Event::MirrorMade, &source.to_string(), &target);
        }
        mirror::run(self.home, request, self.is_wanted(), emit).map(drop)
    }

    fn upkeep(&self) -> Upkeep<'_> {
        Upkeep { home: self.home, is_wanted: self.is_wanted() }
    }

    /// Whether whoever gave the order still waits for it.
    fn is_wanted(&self) -> &dyn Fn() -> bool {
        self.live.map_or(&|| true, |live| live.is_wanted)
    }

    pub(crate) fn status(&self) -> Result<StatusItem, Failure> {
        let store = &self.home.store;
        let status = store.status().map_err(|error| failed("cannot read the catalog", &error))?;
        let totals = Totals::of(&status.packs);
        let Status { accounts, devices, suspended_devices, suspended_tokens, vaults, free_bytes, .. } = status;
        let Status { snapshots, trashed_snapshots, pinned_snapshots, .. } = status;
        let clock_doubt = store.clock_doubt().map_err(|error| failed("cannot read the catalog", &error))?;
        let chains = store.retained_chains().map_err(|error| failed("cannot read the catalog", &error))?;
        Ok(StatusItem {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: self.home.settings.data_dir.display().to_string(),
            running: self.live.map(|live| (live.running)()),
            halted: store.halted().or(store.read_only()).map(str::to_owned),
            deletion_latch: store.deletion_latch().map(str::to_owned),
            clock_doubt,
            alarms: chains.iter().filter_map(AlarmItem::of).collect(),
            accounts,
            devices,
            suspended_devices,
            suspended_tokens,
            vaults,
            snapshots,
            trashed_snapshots,
            pinned_snapshots,
            packs: totals.packs,
            bytes_stored: totals.bytes,
            objects_stored: totals.objects,
            free_bytes,
            is_full: free_bytes < store.kept_free_bytes(),
            reserve: store.reserve().into(),
        })
    }

    fn enroll(
        &self,
        account: Option<&str>,
        device: String,
        scope: TokenScope,
        address: Option<HostPort>,
        plain: bool,
    ) -> Result<EnrolmentItem, Failure> {
        let address = address.map_or_else(|| self.default_address(), Ok)?;
        let identity = self.identity(&address, plain)?;
        let account = self.home.account_or_first(account)?;
        let secret = self.porter().invite(&account, &device, scope.into())?;
        let HostPort { host, port } = address.clone();
        let enrolment = EnrolmentString { host, port, identity, secret };
        Ok(EnrolmentItem {
            enrolment: enrolment.to_string(),
            account: account.name,
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
        let place = if is_unspecified { lan::place(&listens) } else { Some(listens) };
        place.filter(|place| place.port != 0).ok_or_else(|| {
            Failure::usage("it is not known where clients find this server")
                .hint("say --address HOST:PORT, or put a line `address = \"HOST:PORT\"` into server.toml")
        })
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
            let quota = store.quota_use(account.id).map_err(unreadable)?;
            let password = store.password(&account.name).map_err(unreadable)?;
            emit(Item::Account(AccountItem {
                used_bytes: quota.used_bytes,
                quota_bytes: quota.quota_bytes,
                disabled_ms: account.disabled.map(clock::wire_ms),
                has_second_factor: password.is_some_and(|password| password.has_second_factor),
                role: role_name(account.role).to_owned(),
                created_ms: clock::wire_ms(account.created),
                account: account.name,
                devices: devices.iter().filter(|device| device.revoked.is_none()).count() as u64,
                snapshots,
                bytes_stored,
            }));
        }
        Ok(())
    }

    /// All accounts, or the one of this name.
    pub(super) fn accounts(&self, only: Option<&str>) -> Result<Vec<Account>, Failure> {
        match only {
            Some(name) => Ok(vec![self.home.account(name)?]),
            None => self.home.store.accounts().map_err(|error| failed("cannot read the catalog", &error)),
        }
    }

    fn list_devices(&self, only: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        for account in self.accounts(only)? {
            let devices = self.home.store.devices(account.id);
            for device in devices.map_err(|error| failed("cannot read the catalog", &error))? {
                emit(Item::Device(device_item(device, account.name.clone())));
            }
        }
        Ok(())
    }

    fn add_token(
        &self,
        account: Option<&str>,
        name: &str,
        scope: TokenScope,
        expires_in_ms: Option<u64>,
    ) -> Result<TokenItem, Failure> {
        let account = self.home.account_or_first(account)?;
        let secret = self.porter().add_token(&account, name, scope.into(), expires_in_ms)?;
        Ok(TokenItem { secret: Some(secret.text()), ..self.token(secret.id)? })
    }

    fn list_tokens(&self, only: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        for account in self.accounts(only)? {
            let tokens = self.home.store.tokens(account.id);
            for token in tokens.map_err(|error| failed("cannot read the catalog", &error))? {
                emit(Item::Token(token_item(token)));
            }
        }
        Ok(())
    }

    /// Lets tokens in again that an older catalog brought back, and tells of all as they are now.
    fn confirm_tokens(&self, token: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let id = token.map(parse_token).transpose()?;
        let confirmed = self.home.store.confirm_tokens(id).map_err(|error| match (error, id) {
            (StoreError::NotFound { .. }, Some(id)) => Failure::usage(format!("there is no token {id}")),
            (error, _) => failed("cannot confirm tokens", &error),
        })?;
        let subject = id.map(|id| id.to_string()).unwrap_or_default();
        Actor::command().note(&self.home.store, Event::TokensConfirmed, &subject, &confirmed.to_string());
        self.list_tokens(None, emit)
    }

    fn revoke_token(&self, token: &str) -> Result<TokenItem, Failure> {
        let id = parse_token(token)?;
        let account = self.token(id)?.account;
        self.porter().revoke_token(&account, id).map_err(|error| failed("cannot revoke the token", &error))?;
        self.token(id)
    }

    fn token(&self, id: TokenId) -> Result<TokenItem, Failure> {
        let token = self.home.store.token(id).map_err(|error| failed("cannot read the catalog", &error))?;
        token.map(token_item).ok_or_else(|| Failure::usage(format!("there is no token {id}")))
    }

    /// Lets devices in again that an older catalog brought back, and tells of all as they are now.
    fn confirm_devices(&self, device: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let id = device.map(parse_device).transpose()?;
        let confirmed = self.home.store.confirm_devices(id).map_err(|error| match (error, id) {
            (StoreError::NotFound { .. }, Some(id)) => Failure::usage(format!("there is no device {id}")),
            (error, _) => failed("cannot confirm devices", &error),
        })?;
        let subject = id.map(|id| id.to_string()).unwrap_or_default();
        Actor::command().note(&self.home.store, Event::DevicesConfirmed, &subject, &confirmed.to_string());
        self.list_devices(None, emit)
    }

    fn revoke(&self, device: &str) -> Result<DeviceItem, Failure> {
        let id = parse_device(device)?;
        let store = &self.home.store;
        let missing = || Failure::usage(format!("there is no device {id}"));
        let unreadable = |error: StoreError| failed("cannot read the catalog", &error);
        let look = || store.device(id).map_err(unreadable)?.ok_or_else(missing);
        let account = store.account(look()?.account).map_err(unreadable)?;
        let account = account.map(|account| account.name).unwrap_or_default();
        self.porter().revoke_device(&account, id).map_err(|error| failed("cannot revoke the device", &error))?;
        Ok(device_item(look()?, account))
    }
}

fn parse_device(text: &str) -> Result<DeviceId, Failure> {
    text.parse()
        .map_err(|_| Failure::usage("a device's id has 16 hex digits").hint("`backup-server device list` shows all"))
}

fn parse_token(text: &str) -> Result<TokenId, Failure> {
    text.parse()
        .map_err(|_| Failure::usage("a token's id has 16 hex digits").hint("`backup-server token list` shows all"))
}

fn token_item(token: ApiToken) -> TokenItem {
    TokenItem {
        token: token.id.to_string(),
        name: token.name,
        account: token.account.name,
        scope: token.scope.into(),
        created_ms: clock::wire_ms(token.created),
        expires_ms: token.expires.map(clock::wire_ms),
        last_used_ms: token.last_used.map(clock::wire_ms),
        revoked_ms: token.revoked.map(clock::wire_ms),
        suspended: token.is_suspended && token.revoked.is_none(),
        secret: None,
    }
}

fn device_item(device: store::Device, account: String) -> DeviceItem {
    DeviceItem {
        device: device.id.to_string(),
        name: device.name,
        account,
        scope: device.scope.into(),
        created_ms: clock::wire_ms(device.created),
        last_seen_ms: device.last_seen.map(clock::wire_ms),
        revoked_ms: device.revoked.map(clock::wire_ms),
        suspended: device.is_suspended && device.revoked.is_none(),
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
