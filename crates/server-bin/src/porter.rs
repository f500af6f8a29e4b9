//! [`Porter`]: who gets in. What is done to accounts, tokens and devices, by commands and by HTTP alike; each leaves a line
//! in the audit log, and connections that know nothing of it end.

use proto::Secret;
use store::{
    Account, AccountId, DeviceId, NewShare, NewToken, Role, Scope, ShareId, ShareKind, StoreError, TokenId, UnixMs,
};

use crate::audit::{Actor, Event};
use crate::clock;
use crate::failure::Failure;
use crate::home::{Home, failed};
use crate::host_port::HostPort;
use crate::keys::random;
use crate::login::token::ApiSecret;
use crate::service::Revoked;

/// Longest name of a token, in bytes.
const TOKEN_NAME_LEN_MAX: usize = 64;
/// How long a link to set an account up is good.
pub(crate) const SETUP_LINK_LIFETIME_MS: i64 = 24 * 3_600_000;

/// Does it on somebody's behalf.
pub(crate) struct Porter<'a> {
    /// The open data directory.
    pub(crate) home: &'a Home,
    /// Ends connections, while a server runs.
    pub(crate) revoked: Option<&'a Revoked>,
    /// On whose behalf.
    pub(crate) actor: Actor,
}

/// A link with which somebody sets an account's name and password, once.
pub(crate) struct SetupLink {
    /// Where it leads: one address, or several that lead to the same. Not empty.
    pub(crate) urls: Vec<String>,
    /// After this moment it is void.
    pub(crate) expires: UnixMs,
}

impl SetupLink {
    /// The address that is said where there is room for one.
    pub(crate) fn into_url(mut self) -> String {
        self.urls.swap_remove(0)
    }
}

impl Porter<'_> {
    fn note(&self, event: Event, subject: &str, detail: &str) {
        self.actor.note(&self.home.store, event, subject, detail);
    }

    /// What the account may do is not what its connections believe any more.
    fn end_connections(&self, account: AccountId) {
        if let Some(revoked) = self.revoked {
            revoked.add_account(account);
        }
    }

    /// Makes an account with a managed vault.
    ///
    /// # Errors
    /// [`Failure`] when the name is taken or cannot be one.
    pub(crate) fn add_account(&self, name: &str, role: Role) -> Result<AccountId, Failure> {
        let id = self.home.add_account(name, role)?;
        self.note(Event::AccountAdded, name, role_name(role));
        Ok(id)
    }

    /// Gives an account another role.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when no administrator would be left.
    pub(crate) fn set_role(&self, account: &Account, role: Role) -> Result<(), StoreError> {
        self.home.store.set_role(account.id, role)?;
        self.note(Event::RoleSet, &account.name, role_name(role));
        self.end_connections(account.id);
        Ok(())
    }

    /// Shuts an account, or opens it again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when no administrator would be left.
    pub(crate) fn set_disabled(&self, account: &Account, is_disabled: bool) -> Result<(), StoreError> {
        self.home.store.set_disabled(account.id, is_disabled.then(clock::now))?;
        let event = if is_disabled { Event::AccountDisabled } else { Event::AccountEnabled };
        self.note(event, &account.name, "");
        self.end_connections(account.id);
        Ok(())
    }

    /// Limits what an account may store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set_quota(&self, account: &Account, quota_bytes: Option<u64>) -> Result<(), StoreError> {
        self.home.store.set_quota(account.id, quota_bytes)?;
        let detail = quota_bytes.map_or_else(|| "none".to_owned(), |bytes| format!("{bytes} bytes"));
        self.note(Event::QuotaSet, &account.name, &detail);
        Ok(())
    }

    /// Gives an account another password, and ends its sessions in browsers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set_password(&self, account: &Account, hash: &str) -> Result<(), StoreError> {
        self.home.store.set_password(account.id, hash)?;
        self.note(Event::PasswordSet, &account.name, "");
        Ok(())
    }

    /// Makes a link to set the account up; `listens` is where a browser finds the server when nobody says otherwise.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) fn setup_link(&self, account: &Account, listens: &HostPort) -> Result<SetupLink, Failure> {
        let secret: Secret<16> = Secret::new(random()?);
        let now = clock::now();
        let expires = UnixMs(now.0.saturating_add(SETUP_LINK_LIFETIME_MS));
        let hash = self.home.keys.setup_hash(&secret);
        let made = self.home.store.create_setup_link(account.id, &hash, expires, now);
        made.map_err(|error| failed("cannot make a set-up link", &error))?;
        self.note(Event::SetupLinkMade, &account.name, "");
        // What stands behind # no browser sends and no proxy logs.
        let secret = object::hex::encode(secret.expose());
        let pages = self.home.page_urls(listens).into_iter();
        Ok(SetupLink { urls: pages.map(|page| format!("{page}setup#{secret}.{}", account.name)).collect(), expires })
    }

    /// Takes an account's second factor away, if it has one; its sessions in browsers end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn remove_second_factor(&self, account: &Account) -> Result<bool, StoreError> {
        let is_removed = self.home.store.remove_second_factor(account.id)?;
        if is_removed {
            self.home.store.end_web_sessions(account.id, None)?;
            self.note(Event::SecondFactorRemoved, &account.name, "");
        }
        Ok(is_removed)
    }

    /// Makes a token; its secret, which nobody is told again.
    ///
    /// # Errors
    /// [`Failure`] when the name cannot be one.
    pub(crate) fn add_token(
        &self,
        account: &Account,
        name: &str,
        scope: Scope,
        expires_in_ms: Option<u64>,
    ) -> Result<ApiSecret, Failure> {
        if name.is_empty() || name.len() > TOKEN_NAME_LEN_MAX || name.chars().any(char::is_control) {
            let message = format!("a token's name has 1 to {TOKEN_NAME_LEN_MAX} bytes and no control characters");
            return Err(Failure::usage(message));
        }
        let secret = ApiSecret { id: TokenId::from_bytes(random()?), secret: Secret::new(random()?) };
        let now = clock::now();
        let expires = expires_in_ms.map(|ms| UnixMs(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))));
        let token_hash = self.home.keys.api_token_hash(&secret.secret);
        let new = NewToken { id: secret.id, account: account.id, name, token_hash, scope, expires };
        self.home.store.create_token(&new, now).map_err(|error| failed("cannot make a token", &error))?;
        self.note(Event::TokenMade, &account.name, &format!("{} {name}", secret.id));
        Ok(secret)
    }

    /// Voids a token, of whichever account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a token.
    pub(crate) fn revoke_token(&self, account: &str, id: TokenId) -> Result<(), StoreError> {
        self.home.store.revoke_token(id, clock::now())?;
        self.note(Event::TokenRevoked, account, &id.to_string());
        Ok(())
    }

    /// Makes a share of an account's drive.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when what it opens is gone, [`StoreError::Conflict`] when the account has too many.
    pub(crate) fn share(&self, account: &Account, share: &NewShare<'_>, now: UnixMs) -> Result<(), StoreError> {
        self.home.store.create_share(share, now)?;
        self.note(Event::ShareMade, &account.name, &share.id.to_string());
        Ok(())
    }

    /// Voids a share, of whichever account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a share.
    pub(crate) fn revoke_share(&self, account: &str, id: ShareId) -> Result<(), StoreError> {
        self.home.store.revoke_share(id, clock::now())?;
        self.note(Event::ShareRevoked, account, &id.to_string());
        Ok(())
    }

    /// Invites a device; the secret it has to show.
    ///
    /// # Errors
    /// [`Failure`] when the device's name cannot be one.
    pub(crate) fn invite(&self, account: &Account, device: &str, scope: Scope) -> Result<Secret<16>, Failure> {
        let secret = self.home.invite(account.id, device, scope)?;
        self.note(Event::DeviceInvited, &account.name, device);
        Ok(secret)
    }

    /// Takes a device's access away, at once and for good.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a device.
    pub(crate) fn revoke_device(&self, account: &str, id: DeviceId) -> Result<(), StoreError> {
        self.home.store.revoke_device(id, clock::now())?;
        if let Some(revoked) = self.revoked {
            revoked.add(id);
        }
        self.note(Event::DeviceRevoked, account, &id.to_string());
        Ok(())
    }
}

/// What opens a share, for whoever has it; `start` is the address of the server's start page.
pub(crate) fn share_url(start: &str, kind: ShareKind, secret: &Secret<16>) -> String {
    let page = match kind {
        ShareKind::Upload => 'u',
        ShareKind::Download => 's',
    };
    format!("{start}{page}/{}", object::hex::encode(secret.expose()))
}

/// As commands and answers have it.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
        Role::ReadOnly => "read-only",
    }
}
