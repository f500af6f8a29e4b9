//! Shares by command: links to what is in the drive of any account, made, listed and voided.

use bytes::Bytes;
use object::VaultId;
use proto::{DrivePath, Secret};
use serde::{Deserialize, Serialize};
use store::{Account, NewShare, Share, ShareId, ShareKind, UnixMs, VaultMode};
use vault::Keys;

use crate::admin::Item;
use crate::admin::desk::Desk;
use crate::clock;
use crate::drive::{DriveError, DriveView};
use crate::failure::{Failure, FailureKind};
use crate::home::failed;
use crate::host_port::HostPort;
use crate::keys::random;
use crate::live::{Activity, ActivityKind};
use crate::porter::share_url;
use crate::vaults::managed_key;

/// A share to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareOrder {
    /// The oldest account, unless said.
    pub(crate) account: Option<String>,
    pub(crate) path: String,
    pub(crate) is_upload: bool,
    /// `None`: never.
    pub(crate) expires_in_ms: Option<u64>,
    pub(crate) password_hash: Option<String>,
    pub(crate) uses_max: Option<u64>,
    pub(crate) file_len_max: Option<u64>,
}

/// A way to one file or folder of a drive.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ShareItem {
    /// Its id.
    pub(crate) share: String,
    pub(crate) account: String,
    /// `download` or `upload`.
    pub(crate) kind: String,
    /// None while it is in the trash, or gone, or the server cannot read its name.
    pub(crate) path: Option<String>,
    pub(crate) has_password: bool,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) last_used_ms: Option<u64>,
    pub(crate) revoked_ms: Option<u64>,
    pub(crate) uses: u64,
    pub(crate) uses_max: Option<u64>,
    pub(crate) file_len_max: Option<u64>,
    /// What opens it; known only when it was made.
    pub(crate) link: Option<String>,
}

impl ShareItem {
    /// For people. Standard output holds a new link alone, so that a script can pass it on.
    pub(super) fn text(&self) -> String {
        if let Some(link) = &self.link {
            return link.clone();
        }
        let Self { share, account, kind, uses, .. } = self;
        let path =
            self.path.as_deref().map_or("what is not there".to_owned(), |path| format!("/{}", path.escape_debug()));
        let now_ms = clock::wire_ms(clock::now());
        let over = match (self.revoked_ms, self.expires_ms, self.uses_max) {
            (Some(_), _, _) => ", revoked",
            (None, Some(expires_ms), _) if expires_ms < now_ms => ", expired",
            (None, _, Some(uses_max)) if *uses >= uses_max => ", used up",
            (None, _, _) => "",
        };
        let password = if self.has_password { ", with a password" } else { "" };
        let used = self.uses_max.map_or_else(|| format!("{uses}"), |uses_max| format!("{uses} of {uses_max}"));
        format!("{share}  {kind} of {path} of {account}, used {used}{password}{over}")
    }
}

impl Desk<'_> {
    /// Makes a share; its link, which nobody is told again.
    pub(super) fn add_share(&self, order: &ShareOrder) -> Result<ShareItem, Failure> {
        let account = self.home.account_or_first(order.account.as_deref())?;
        let path =
            DrivePath::new(Bytes::from(order.path.trim_matches('/').to_owned().into_bytes())).ok_or_else(|| {
                Failure::usage("a path in a drive is names of 1 to 255 bytes with / between them, none of them . or ..")
            })?;
        let (vault, keys) = self.drive_of(&account)?;
        let found = DriveView::new(&self.home.store, vault, &keys).node_at(&path);
        let (node, is_folder) = found.map_err(|error| not_looked_up(&account, &order.path, &error))?;
        if order.is_upload && !is_folder {
            return Err(Failure::usage(format!("files are put into a folder, and `{}` is a file", order.path)));
        }
        if order.file_len_max == Some(0) {
            return Err(Failure::usage("a limit of nothing: leave --file-len-max away, or make no share"));
        }
        let kind = if order.is_upload { ShareKind::Upload } else { ShareKind::Download };
        let now = clock::now();
        let expires = |ms| UnixMs(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
        let secret = Secret::new(random()?);
        let new = NewShare {
            id: ShareId::from_bytes(random()?),
            account: account.id,
            vault,
            node,
            kind,
            token_hash: self.home.keys.share_hash(&secret),
            password: order.password_hash.as_deref(),
            expires: order.expires_in_ms.map(expires),
            uses_max: order.uses_max,
            file_len_max: order.file_len_max,
        };
        self.porter().share(&account, &new, now).map_err(|error| failed("cannot make the share", &error))?;
        if let Some(live) = self.live {
            live.service.feed.push(Activity::of_drive(ActivityKind::Share, &account, &path, String::new()));
        }
        let listens = self.live.map_or_else(|| HostPort::from(self.home.settings.listen), |live| live.address.clone());
        let link = share_url(&self.home.page_url(&listens), kind, &secret);
        let item = self.share_item(&self.share(new.id)?, Some(&(vault, keys)));
        Ok(ShareItem { link: Some(link), ..item })
    }

    /// Tells of all shares, or of an account's, its newest first.
    pub(super) fn list_shares(&self, only: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        for account in self.accounts(only)? {
            let shares = self.home.store.shares(account.id);
            let shares = shares.map_err(|error| failed("cannot read the catalog", &error))?;
            let drive = self.drive_of(&account).ok();
            for share in shares {
                emit(Item::Share(Box::new(self.share_item(&share, drive.as_ref()))));
            }
        }
        Ok(())
    }

    /// Voids a share for ever.
    pub(super) fn revoke_share(&self, share: &str) -> Result<ShareItem, Failure> {
        let id = share.parse().map_err(|_| {
            Failure::usage("a share's id has 16 hex digits").hint("`backup-server share list` shows all")
        })?;
        let account = self.share(id)?.account.name;
        self.porter().revoke_share(&account, id).map_err(|error| failed("cannot revoke the share", &error))?;
        let share = self.share(id)?;
        Ok(self.share_item(&share, self.drive_of(&share.account).ok().as_ref()))
    }

    fn share(&self, id: ShareId) -> Result<Share, Failure> {
        let share = self.home.store.share(id).map_err(|error| failed("cannot read the catalog", &error))?;
        share.ok_or_else(|| Failure::usage(format!("there is no share {id}")))
    }

    /// The vault of an account's drive, and what opens it.
    fn drive_of(&self, account: &Account) -> Result<(VaultId, Keys), Failure> {
        let vaults = self.home.store.vaults(account.id).map_err(|error| failed("cannot read the catalog", &error))?;
        let vault = vaults.into_iter().next();
        let vault = vault.ok_or_else(|| Failure::usage(format!("the account `{}` has no drive", account.name)))?;
        match managed_key(&self.home.keys, &vault) {
            Ok(key) => Ok((vault.id, Keys::new(&key))),
            Err(_) if vault.mode == VaultMode::Sealed => {
                Err(Failure::usage("the drive is sealed: the server cannot read the names in it, nor give them out"))
            }
            Err(error) => Err(failed("cannot open the drive", &error)),
        }
    }

    /// What cannot be read is told as what is not there: a list of shares, and voiding one, must not need the drive.
    fn share_item(&self, share: &Share, drive: Option<&(VaultId, Keys)>) -> ShareItem {
        let path = drive.filter(|(vault, _)| *vault == share.vault).and_then(|(vault, keys)| {
            DriveView::new(&self.home.store, *vault, keys).path_of(share.node).ok().flatten()
        });
        let kind = match share.kind {
            ShareKind::Download => "download",
            ShareKind::Upload => "upload",
        };
        ShareItem {
            share: share.id.to_string(),
            account: share.account.name.clone(),
            kind: kind.to_owned(),
            path: path.map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned()),
            has_password: share.password_hash.is_some(),
            created_ms: clock::wire_ms(share.created),
            expires_ms: share.expires.map(clock::wire_ms),
            last_used_ms: share.last_used.map(clock::wire_ms),
            revoked_ms: share.revoked.map(clock::wire_ms),
            uses: share.uses,
            uses_max: share.uses_max,
            file_len_max: share.file_len_max,
            link: None,
        }
    }
}

fn not_looked_up(account: &Account, path: &str, error: &DriveError) -> Failure {
    match error {
        DriveError::NotFound => {
            let message = format!("there is nothing at `{path}` in the drive of `{}`", account.name);
            Failure::usage(message).hint("`backup-client rlist` shows what is there")
        }
        error => Failure::new(FailureKind::Integrity, "cannot look into the drive").because(error),
    }
}
