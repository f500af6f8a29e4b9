//! `settings export` and `settings import`: everything that can be set, as one file: what stands in the settings file, and what
//! the catalog has: accounts, quotas, retention. Nothing secret is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::admin::desk::Desk;
use crate::admin::{Item, Order, command};
use crate::args::{AccountRole, Place, Quota, Rules};
use crate::config::{FILE_NAME, FileOptions, Settings};
use crate::failure::{Failure, FailureKind};
use crate::home::{check_account_name, failed};
use crate::keeper::Keeper;
use crate::options::Options;
use crate::private_files;
use crate::retention::Policy;
use crate::units::ByteCount;

const HEAD: &str = "\
# Settings of a Delta Backup server, written by `backup-server settings export`. No passwords, keys and tokens are in it.
# `backup-server settings import FILE` takes it in; what it does not name stays as it is.

";
/// The only version of the file so far.
const FORMAT: u32 = 1;
/// So many accounts or chains go to a running server with one order.
const PIECE_LEN: usize = 100;

/// The file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    format: u32,
    /// As in the settings file.
    #[serde(default)]
    config: Options,
    /// What stays of chains without rules of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention: Option<Rules>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    account: BTreeMap<String, AccountSettings>,
    /// What stays of chains with rules of their own, by DEVICE/CHAIN.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    chain: BTreeMap<String, Rules>,
}

/// What the catalog has of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogSettings {
    retention: Option<Rules>,
    accounts: BTreeMap<String, AccountSettings>,
    chains: BTreeMap<String, Rules>,
}

/// What can be set of an account; none: it stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AccountSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<AccountRole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<bool>,
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&quota_text(*self))
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// As `account quota` takes it.
fn quota_text(quota: Quota) -> String {
    quota.0.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string())
}

/// What became of a setting that an import names, and that was another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingChangeItem {
    /// `account ada: role`, `retention of laptop/home`, or a line of the settings file.
    pub(crate) name: String,
    /// None when nothing held.
    pub(crate) before: Option<String>,
    pub(crate) after: String,
    pub(crate) state: ChangeState,
    /// What is left to do.
    pub(crate) hint: Option<String>,
}

/// Whether a change holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChangeState {
    /// It holds now.
    Done,
    /// A dry run would have made it.
    Planned,
    /// Somebody has to do something first.
    Waits,
}

impl SettingChangeItem {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let state = match self.state {
            ChangeState::Done => "changed",
            ChangeState::Planned => "would change",
            ChangeState::Waits => "NOT changed",
        };
        let before = self.before.iter().map(|before| format!("{before} -> ")).collect::<String>();
        let hint = self.hint.iter().map(|hint| format!("\n{:14}{hint}", "")).collect::<String>();
        format!("{state:13} {}: {before}{}{hint}", self.name.escape_debug(), self.after)
    }
}

/// Writes all settings as one file: to the new file `to`, or as an item.
///
/// # Errors
/// [`Failure`] when they cannot be read, or the file is there already.
pub(crate) fn export(place: Place, to: Option<&Path>, print: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let is_json = place.json;
    let (said, config) = said(&place)?;
    let settings = command::settings(place)?;
    let catalog = ask(&settings)?;
    // Where the data directory is belongs to the machine.
    let options =
        Options { data_dir: None, ..said.or(FileOptions::of(&settings.as_options(), config.as_deref())?.options) };
    let CatalogSettings { retention, accounts: account, chains: chain } = catalog;
    let file = SettingsFile { format: FORMAT, config: options, retention, account, chain };
    let text = format!("{HEAD}{}", toml(&file)?);
    let item = match to {
        Some(path) => {
            private_files::create(path, text.as_bytes()).map_err(|error| {
                Failure::usage(format!("cannot write {}", path.display())).because(&error).hint("name a new file")
            })?;
            Item::SettingsExported { file: Some(path.display().to_string()), text: None }
        }
        None => Item::SettingsExported { file: None, text: Some(text) },
    };
    command::tell(is_json, print, &item);
    Ok(())
}

/// Takes a file in that [`export`] wrote, or says what that would change.
///
/// # Errors
/// [`Failure`] when the file is wrong, in which case nothing was changed; of kind `Partial` when a part of it has to wait.
pub(crate) fn import(place: Place, from: &Path, is_dry_run: bool, print: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let is_json = place.json;
    let file = read(from)?;
    let (_, config) = said(&place)?;
    let settings = command::settings(place)?;
    // Nothing is changed by a file of which a part cannot hold.
    Settings::from_options(Options { data_dir: Some(settings.data_dir.clone()), ..file.config.clone() })
        .map_err(|failure| failure.of(&from.display().to_string()))?;
    let mut waits: u64 = 0;
    let mut emit = |item: Item| {
        if let Item::SettingChange(change) = &item {
            waits += u64::from(change.state == ChangeState::Waits);
        }
        command::tell(is_json, print, &item);
    };
    let SettingsFile { config: options, retention, account: accounts, chain: chains, .. } = file;
    for settings_piece in (CatalogSettings { retention, accounts, chains }).pieces() {
        let order = Order::ImportSettings { settings: Box::new(settings_piece), dry_run: is_dry_run };
        command::perform(&settings, &order, &mut emit)?;
    }
    let path = config.unwrap_or_else(|| settings.data_dir.join(FILE_NAME));
    import_config(&options, &path, is_dry_run, &mut emit)?;
    match waits {
        0 => Ok(()),
        _ => Err(Failure::new(FailureKind::Partial, format!("{waits} settings of {} wait", from.display()))
            .hint("what to do about each is said above; then say the same again")),
    }
}

/// What the environment says, and the settings file that is named.
fn said(place: &Place) -> Result<(Options, Option<PathBuf>), Failure> {
    let environment = Options::from_environment()
        .map_err(|error| Failure::usage("an environment variable is not what it should be").because(&error))?;
    Ok((environment, place.config.clone()))
}

/// What the catalog has.
fn ask(settings: &Settings) -> Result<CatalogSettings, Failure> {
    let mut found = None;
    command::perform(settings, &Order::ExportSettings, &mut |item| {
        if let Item::CatalogSettings(settings) = item {
            found = Some(*settings);
        }
    })?;
    found.ok_or_else(|| Failure::new(FailureKind::Internal, "the server does not say its settings"))
}

fn toml(value: &impl Serialize) -> Result<String, Failure> {
    toml::to_string(value)
        .map_err(|error| Failure::new(FailureKind::Internal, "settings cannot be written as TOML").because(&error))
}

fn read(path: &Path) -> Result<SettingsFile, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read settings from {name}")).because(&error))?;
    let wrong = || Failure::usage(format!("settings in {name} are wrong"));
    let file: SettingsFile = toml::from_str(&text).map_err(|error| wrong().because(&error))?;
    if file.format != FORMAT {
        let message = format!("{name} is of format {}, and this version reads {FORMAT}", file.format);
        return Err(Failure::usage(message).hint("use the version of backup-server that wrote it, or a newer one"));
    }
    for name in file.account.keys() {
        check_account_name(name).map_err(|failure| failure.of(&format!("account `{name}`")))?;
    }
    let named = file.retention.iter().map(|rules| ("retention", rules));
    let named = named.chain(file.chain.iter().map(|(name, rules)| (name.as_str(), rules)));
    match named.into_iter().find(|(_, rules)| rules.policy().is_none()) {
        Some((name, _)) => {
            Err(Failure::usage(format!("no rule is said for `{name}`")).hint("say for example keep-daily = 7"))
        }
        None => Ok(file),
    }
}

/// Writes the settings file where there is none; says what to put into the one that is there.
fn import_config(options: &Options, path: &Path, is_dry_run: bool, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let is_there = path.exists();
    let present = if is_there { FileOptions::of(&Options::default(), Some(path))?.options } else { Options::default() };
    let (wanted, present) = (lines(options)?, lines(&present)?);
    let changed: Vec<(&String, &String)> =
        wanted.iter().filter(|(name, line)| present.get(*name) != Some(*line)).collect();
    let (state, hint) = match (is_there, is_dry_run) {
        (true, _) => {
            (ChangeState::Waits, format!("put this line into {}, then start the server again", path.display()))
        }
        (false, true) => (ChangeState::Planned, format!("it goes into {}", path.display())),
        (false, false) => (ChangeState::Done, format!("it is in {}: start the server again", path.display())),
    };
    if !is_there && !is_dry_run && !changed.is_empty() {
        let text: String = wanted.values().map(|line| format!("{line}\n")).collect();
        private_files::replace(path, text.as_bytes(), 0o644).map_err(|error| {
            Failure::new(FailureKind::Unavailable, format!("cannot write {}", path.display())).because(&error)
        })?;
    }
    for (name, line) in changed {
        emit(Item::SettingChange(SettingChangeItem {
            name: name.clone(),
            before: present.get(name).cloned(),
            after: line.clone(),
            state,
            hint: Some(hint.clone()),
        }));
    }
    Ok(())
}

/// The lines of a settings file that says this, by name.
fn lines(options: &Options) -> Result<BTreeMap<String, String>, Failure> {
    let unwritable = |error| Failure::new(FailureKind::Internal, "settings cannot be written as TOML").because(&error);
    let table = toml::Table::try_from(options).map_err(unwritable)?;
    let line = |(name, value): (String, toml::Value)| {
        let line = format!("{name} = {value}");
        (name, line)
    };
    Ok(table.into_iter().map(line).collect())
}

impl CatalogSettings {
    /// The same in parts that are not too long for an order, administrators first: there always is one.
    fn pieces(self) -> Vec<Self> {
        let Self { retention, accounts, chains } = self;
        let mut pieces = vec![Self { retention, ..Self::default() }];
        let mut accounts: Vec<_> = accounts.into_iter().collect();
        accounts.sort_by_key(|(_, said)| said.role != Some(AccountRole::Admin));
        for piece in accounts.chunks(PIECE_LEN) {
            pieces.push(Self { accounts: piece.iter().cloned().collect(), ..Self::default() });
        }
        let chains: Vec<_> = chains.into_iter().collect();
        for piece in chains.chunks(PIECE_LEN) {
            pieces.push(Self { chains: piece.iter().cloned().collect(), ..Self::default() });
        }
        pieces
    }
}

/// Tells of changes, and whether to make them.
struct Changes<'a> {
    is_dry_run: bool,
    emit: &'a mut dyn FnMut(Item),
}

impl Changes<'_> {
    /// Makes a change where something is another than it was.
    fn set(
        &mut self,
        name: &str,
        before: Option<String>,
        after: String,
        hint: Option<String>,
        make: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        if !self.is_dry_run {
            make()?;
        }
        let state = if self.is_dry_run { ChangeState::Planned } else { ChangeState::Done };
        (self.emit)(Item::SettingChange(SettingChangeItem { name: name.to_owned(), before, after, state, hint }));
        Ok(())
    }
}

impl Desk<'_> {
    /// What the catalog has of settings.
    pub(super) fn catalog_settings(&self) -> Result<CatalogSettings, Failure> {
        let keeper = Keeper::new(&self.home.store);
        let accounts = self.accounts(None)?.into_iter().map(|account| {
            let settings = AccountSettings {
                role: Some(account.role.into()),
                quota: Some(Quota(account.quota_bytes.map(ByteCount))),
                disabled: Some(account.disabled.is_some()),
            };
            (account.name, settings)
        });
        let all = keeper.chains(None)?;
        let mut chains = BTreeMap::new();
        for chain in all.iter().filter(|chain| chain.policy.is_some()) {
            let name = |chain: &store::RetainedChain| format!("{}/{}", chain.device_name, chain.name);
            let is_alone = all.iter().filter(|other| name(other) == name(chain)).count() == 1;
            let name = if is_alone { name(chain) } else { format!("{}/{}", chain.device, chain.name) };
            chains.insert(name, Rules::of(&keeper.policy(chain)?));
        }
        Ok(CatalogSettings {
            retention: Some(Rules::of(&keeper.default_policy()?)),
            accounts: accounts.collect(),
            chains,
        })
    }

    /// Makes the catalog's settings those that are said, as far as they are said.
    pub(super) fn import_settings(
        &self,
        said: &CatalogSettings,
        is_dry_run: bool,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let now = self.catalog_settings()?;
        let mut changes = Changes { is_dry_run, emit };
        let mut accounts: Vec<_> = said.accounts.iter().collect();
        accounts.sort_by_key(|(_, said)| said.role != Some(AccountRole::Admin));
        for (name, said) in accounts {
            self.import_account(name, now.accounts.get(name), said, &mut changes)?;
        }
        if let Some(policy) = said.retention.and_then(Rules::policy) {
            let before = now.retention.and_then(Rules::policy).map(|before| before.to_string());
            changes.set("retention", before, policy.to_string(), None, || {
                self.set_retention(None, Some(&policy), &mut |_| ())
            })?;
        }
        let keeper = Keeper::new(&self.home.store);
        for (name, rules) in &said.chains {
            let Some(policy) = rules.policy() else { continue };
            let subject = format!("retention of {name}");
            match keeper.chains(Some(name)) {
                Ok(found) => {
                    let own = found.iter().filter(|chain| chain.policy.is_some());
                    let before: Vec<Policy> = own.map(|chain| keeper.policy(chain)).collect::<Result<_, _>>()?;
                    let before = before.first().map(ToString::to_string);
                    changes.set(&subject, before, policy.to_string(), None, || {
                        self.set_retention(Some(name), Some(&policy), &mut |_| ())
                    })?;
                }
                Err(failure) if failure.kind() == FailureKind::Usage => {
                    (changes.emit)(Item::SettingChange(SettingChangeItem {
                        name: subject,
                        before: None,
                        after: policy.to_string(),
                        state: ChangeState::Waits,
                        hint: Some(format!("{}: say the same again after its first backup", failure.in_one_line())),
                    }));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn import_account(
        &self,
        name: &str,
        now: Option<&AccountSettings>,
        said: &AccountSettings,
        changes: &mut Changes<'_>,
    ) -> Result<(), Failure> {
        let role = said.role.or(now.and_then(|now| now.role)).unwrap_or(AccountRole::Member);
        let role_text = |role: AccountRole| crate::porter::role_name(role.into()).to_owned();
        let porter = self.porter();
        match now.and_then(|now| now.role) {
            None => {
                let hint =
                    format!("it has no password: `backup-server account setup-link {name}` makes a link for one");
                let add = || porter.add_account(name, role.into()).map(drop);
                changes.set(&format!("account {name}"), None, role_text(role), Some(hint), add)?;
            }
            Some(before) => {
                changes.set(
                    &format!("account {name}: role"),
                    Some(role_text(before)),
                    role_text(role),
                    None,
                    || {
                        let set = porter.set_role(&self.home.account(name)?, role.into());
                        set.map_err(|error| failed("cannot set the role", &error))
                    },
                )?;
            }
        }
        if let Some(quota) = said.quota {
            let before = now.and_then(|now| now.quota).unwrap_or(Quota(None));
            changes.set(
                &format!("account {name}: quota"),
                Some(quota_text(before)),
                quota_text(quota),
                None,
                || {
                    let set = porter.set_quota(&self.home.account(name)?, quota.0.map(|bytes| bytes.0));
                    set.map_err(|error| failed("cannot set the quota", &error))
                },
            )?;
        }
        if let Some(is_disabled) = said.disabled {
            let text = |is_disabled: bool| if is_disabled { "yes" } else { "no" }.to_owned();
            let before = now.and_then(|now| now.disabled).unwrap_or(false);
            changes.set(&format!("account {name}: disabled"), Some(text(before)), text(is_disabled), None, || {
                let set = porter.set_disabled(&self.home.account(name)?, is_disabled);
                set.map_err(|error| failed("cannot change the account", &error))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_was_made_of() {
        let text = "format = 1\n\n[config]\nlisten = \"0.0.0.0:8080\"\npack-size = \"2MiB\"\n\n[retention]\nkeep-daily = 7\n\
                    min-age = \"14d\"\n\n[account.ada]\nrole = \"admin\"\nquota = \"none\"\ndisabled = false\n\n\
                    [chain.\"laptop/home\"]\nkeep-last = 3\nkeep-within = \"2d\"\n";
        let file: SettingsFile = toml::from_str(text).unwrap();
        assert_eq!(toml(&file).unwrap(), text);
        for wrong in
            ["format = 1\nmore = 1", "format = 1\n[account.ada]\nrank = 1", "format = 1\n[retention]\nkeep = 1", ""]
        {
            assert!(toml::from_str::<SettingsFile>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_are_those_of_the_policy_they_say() {
        let policy = Policy { keep_last: 3, keep_within_ms: 60_000, min_age_ms: 0, ..Policy::default() };
        for policy in [policy, Policy::default()] {
            assert_eq!(Rules::of(&policy).policy(), Some(policy));
        }
    }

    #[test]
    fn who_administers_comes_first_in_no_order_too_long() {
        let mut settings = CatalogSettings::default();
        for number in 0..250 {
            let role = if number == 249 { AccountRole::Admin } else { AccountRole::Member };
            let account = AccountSettings { role: Some(role), ..AccountSettings::default() };
            settings.accounts.insert(format!("account{number:03}"), account);
            settings.chains.insert(format!("laptop/{number:03}"), Rules::default());
        }
        let pieces = settings.clone().pieces();
        assert!(pieces[1].accounts.contains_key("account249"), "{:?}", pieces[1]);
        let count = |of: fn(&CatalogSettings) -> usize| pieces.iter().map(of).sum::<usize>();
        assert_eq!((count(|piece| piece.accounts.len()), count(|piece| piece.chains.len())), (250, 250));
        let longest = pieces.iter().map(|piece| serde_json::to_string(piece).unwrap().len()).max();
        assert!(longest < Some(32 << 10), "{longest:?}");
    }
}
